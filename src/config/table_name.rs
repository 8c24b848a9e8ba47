//! Names of tables, checked and quoted.

use std::fmt;

/// A checked table name, with its schema where one was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

impl TableName {
    pub(super) fn plain(name: &str) -> Self {
        TableName { schema: None, name: name.to_owned() }
    }

    /// Reads `name` or `schema.name`; each part is `^[A-Za-z_][A-Za-z0-9_]{0,47}$`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let identifier = |part: &str| {
            (1..=48).contains(&part.len())
                && !part.as_bytes()[0].is_ascii_digit()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let good = identifier(name) && schema.is_none_or(identifier);
        good.then(|| TableName { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// The same table with the schema that a server has told, unless that name would have to be escaped.
    pub fn in_schema(&self, schema: &str) -> Self {
        let plain = schema.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let schema = (plain && !schema.is_empty()).then(|| schema.to_owned());
        TableName { schema, name: self.name.clone() }
    }

    /// The name between `mark`s, the only place where an identifier gets into SQL text.
    pub fn quoted(&self, mark: char) -> String {
        match &self.schema {
            Some(schema) => format!("{mark}{schema}{mark}.{mark}{}{mark}", self.name),
            None => format!("{mark}{}{mark}", self.name),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_table_name_breaks_out_of_its_quotes(text in ".{0,60}") {
            if let Some(table) = TableName::parse(&text) {
                prop_assert!(table.quoted('"').chars().all(|c| c.is_ascii_alphanumeric() || "\"._".contains(c)));
                prop_assert_eq!(table.to_string(), text);
            }
        }
    }
}
