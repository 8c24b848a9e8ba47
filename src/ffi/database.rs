//! `fes_database_kind`: the kinds of databases.

use crate::backend::DatabaseKind;

/// The kinds of databases.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_database_kind {
    /// SQLite.
    FES_KIND_SQLITE = 1,
    /// PostgreSQL.
    FES_KIND_POSTGRES = 2,
    /// MySQL and MariaDB.
    FES_KIND_MYSQL = 3,
}

pub(super) fn kind_number(kind: DatabaseKind) -> u32 {
    match kind {
        DatabaseKind::Sqlite => fes_database_kind::FES_KIND_SQLITE as u32,
        DatabaseKind::Postgres => fes_database_kind::FES_KIND_POSTGRES as u32,
        DatabaseKind::Mysql => fes_database_kind::FES_KIND_MYSQL as u32,
    }
}
