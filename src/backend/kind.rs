//! Which database a stream lives in, and how it writes what callers may run on their own connections.

use crate::config::TableName;

/// Which database a stream lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// SQLite, compiled into this library.
    Sqlite,
    /// PostgreSQL 13 and later.
    Postgres,
    /// MySQL 8 and later, MariaDB 10.6 and later.
    Mysql,
}

impl DatabaseKind {
    /// The placeholder of the `n`th bound parameter (from 1) in SQL text: `?`, or `$n` on
    /// PostgreSQL.
    ///
    /// ```
    /// use futoin_eventstream::DatabaseKind;
    /// assert_eq!(DatabaseKind::Postgres.placeholder(2), "$2");
    /// assert_eq!(DatabaseKind::Sqlite.placeholder(2), "?");
    /// ```
    pub fn placeholder(self, n: usize) -> String {
        match self {
            DatabaseKind::Postgres => format!("${n}"),
            DatabaseKind::Sqlite | DatabaseKind::Mysql => "?".to_owned(),
        }
    }

    /// The SQL that adds an event, with placeholders for type and data. PostgreSQL: the casts take the data
    /// from drivers that bind it as text (JDBC, sqlx, tokio-postgres, PREPARE with types) and from those that
    /// leave its type to the server.
    pub(crate) fn insert_sql(self, table: &TableName) -> String {
        let queue = table.quoted(self.quote());
        let values = match self {
            DatabaseKind::Sqlite => "?, ?, datetime('now')",
            DatabaseKind::Postgres => {
                "$1, CAST(CAST($2 AS text) AS json), clock_timestamp() AT TIME ZONE 'UTC'"
            }
            DatabaseKind::Mysql => "?, ?, UTC_TIMESTAMP()",
        };
        format!("INSERT INTO {queue}(type, data, ts) VALUES ({values})")
    }

    /// What stands around an identifier.
    pub(crate) fn quote(self) -> char {
        match self {
            DatabaseKind::Sqlite | DatabaseKind::Postgres => '"',
            DatabaseKind::Mysql => '`',
        }
    }
}
