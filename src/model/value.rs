//! Values that go into and come out of the caller's own SQL in a transaction.

use std::ops::Deref;

/// One SQL value: a bound parameter, or a column of a row.
///
/// ```
/// use futoin_eventstream::Value;
/// assert_eq!(Value::from("x"), Value::Text("x".to_owned()));
/// assert_eq!(Value::from(None::<i64>), Value::Null);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL `NULL`.
    Null,
    /// A boolean; SQLite and MySQL store 0 or 1.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer above the signed range (MySQL `BIGINT UNSIGNED`).
    Uint(u64),
    /// A floating point number.
    Real(f64),
    /// Text. On PostgreSQL it may stand for any type that has a text form, such as a date.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// The value as a signed integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Uint(number) => i64::try_from(*number).ok(),
            Value::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    /// The value as text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::$variant(value.into())
            }
        }
    )*};
}
from!(bool => Bool, i32 => Int, u32 => Int, i64 => Int, u64 => Uint, f64 => Real, &str => Text,
      String => Text, &[u8] => Bytes, Vec<u8> => Bytes);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// The rows of a query of the caller's, and the names of their columns. It is used as a slice of rows.
///
/// ```
/// # use futoin_eventstream::{EventStream, Value};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let mut tx = EventStream::open("sqlite::memory:")?.begin()?;
/// let rows = tx.query("SELECT 'Ann' AS name, 7 AS age", &[])?;
/// assert_eq!(rows.columns(), ["name", "age"]);
/// assert_eq!(rows[0][1], Value::Int(7));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    pub(crate) fn new(columns: Vec<String>, rows: Vec<Vec<Value>>) -> Self {
        Rows { columns, rows }
    }

    /// The names of the columns, as the database gives them; also if there is no row, but for PostgreSQL
    /// with `pooler=transaction`, which tells them with the first row.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

impl Deref for Rows {
    type Target = [Vec<Value>];

    fn deref(&self) -> &[Vec<Value>] {
        &self.rows
    }
}

impl IntoIterator for Rows {
    type Item = Vec<Value>;
    type IntoIter = std::vec::IntoIter<Vec<Value>>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Vec<Value>;
    type IntoIter = std::slice::Iter<'a, Vec<Value>>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

/// Compares the rows, as a vector of them does.
impl<T> PartialEq<T> for Rows
where
    Vec<Vec<Value>>: PartialEq<T>,
{
    fn eq(&self, other: &T) -> bool {
        self.rows == *other
    }
}
