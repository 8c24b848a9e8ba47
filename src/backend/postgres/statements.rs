//! How statements reach the server: prepared and kept, or, behind a pooler in transaction mode,
//! unnamed and in one piece with their parameters, because the next one meets another session.

use super::{Connection, MAX_PREPARED, Params};
use crate::model::error::Result;
use postgres::types::private::BytesMut;
use postgres::types::{Format, ToSql, Type};
use postgres::{Row, Statement};

/// A parameter with the type that an unnamed statement declares for it.
pub(super) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// The types of parameters as they say them: what goes as text has the type that the statement wants.
pub(super) fn typed<'a>(params: &[&'a (dyn ToSql + Sync)]) -> Vec<Typed<'a>> {
    let of = |param: &&'a (dyn ToSql + Sync)| {
        if matches!(param.encode_format(&Type::UNKNOWN), Format::Text) {
            return (*param, Type::UNKNOWN);
        }
        let known = [Type::INT8, Type::TEXT, Type::TEXT_ARRAY, Type::INT8_ARRAY];
        let fits = |ty: &Type| param.to_sql_checked(ty, &mut BytesMut::new()).is_ok();
        (*param, known.into_iter().find(fits).unwrap_or(Type::UNKNOWN))
    };
    params.iter().map(of).collect()
}

impl Connection {
    /// The statement, prepared once and kept.
    pub(super) fn statement(&mut self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        if self.prepared.len() >= MAX_PREPARED {
            self.prepared.clear();
        }
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The rows of a statement.
    pub(super) fn fetch(&mut self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        if self.pooled {
            return Ok(self.client.query_typed(sql, &typed(params))?);
        }
        let statement = self.statement(sql)?;
        Ok(self.client.query(&statement, params)?)
    }

    /// The names of the columns of a statement that gave these rows; unknown without a row where
    /// nothing is prepared.
    pub(super) fn column_names(&mut self, sql: &str, rows: &[Row]) -> Result<Vec<String>> {
        let statement = if self.pooled { None } else { self.prepared.get(sql).cloned() };
        let columns = match (rows.first(), &statement) {
            (Some(row), _) => row.columns(),
            (None, Some(statement)) => statement.columns(),
            (None, None) => &[],
        };
        Ok(columns.iter().map(|column| column.name().to_owned()).collect())
    }

    /// How many rows a statement has touched.
    pub(super) fn touch(&mut self, sql: &str, params: Params<'_>) -> Result<u64> {
        if self.pooled {
            return Ok(self.client.execute_typed(sql, &typed(params))?);
        }
        let statement = self.statement(sql)?;
        Ok(self.client.execute(&statement, params)?)
    }
}
