//! What the caller's own SQL may leave behind in a session.
//!
//! A pooled connection on which such SQL ran is put back into its first state before somebody else
//! gets it: else a `SET search_path`, a `USE` or a temporary table named like the event table would
//! redirect the events of others.

use crate::model::error::{Error, ErrorKind};

/// Statements that begin with one of these words change rows, not the session.
const HARMLESS: [&str; 12] = [
    "select",
    "insert",
    "update",
    "delete",
    "with",
    "merge",
    "replace",
    "values",
    "table",
    "savepoint",
    "release",
    "rollback",
];

/// Words by which a statement that begins harmlessly may still change the session.
const RISKY: [&str; 8] =
    ["set_config", "advisory", "get_lock", "release_", "temp", "pragma", "dblink", ":="];

/// Whether the caller's statement may have changed something in the session that outlives its
/// transaction. It is better to say so once too often: that costs a round trip.
pub(crate) fn may_change_session(sql: &str) -> bool {
    let text = sql.trim_start().to_ascii_lowercase();
    let word = first_word(sql);
    let many = text.trim_end().trim_end_matches(';').contains(';');
    many || !HARMLESS.contains(&word.as_str()) || RISKY.iter().any(|risky| text.contains(risky))
}

/// The first word of a statement behind blanks and comments, in lower case.
pub(crate) fn first_word(sql: &str) -> String {
    let mut text = sql.trim_start();
    loop {
        let rest = match text.get(..2) {
            Some("--") => text.split_once('\n').map(|(_, rest)| rest),
            Some("/*") => text.split_once("*/").map(|(_, rest)| rest),
            _ => break,
        };
        text = rest.unwrap_or_default().trim_start();
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text[..end].to_ascii_lowercase()
}

/// What is told once the caller's own SQL has ended the transaction of a handle.
pub(crate) fn transaction_ended() -> Error {
    Error::new(
        ErrorKind::TransactionEnded,
        "the transaction was ended by a statement of its own (COMMIT, ROLLBACK, DDL on MySQL or the \
         like): what came before that statement is committed or rolled back as it said, and nothing \
         is done after it. Leave the end to commit() and rollback()",
    )
}

#[cfg(test)]
mod tests {
    use super::may_change_session;

    #[test]
    fn statements_about_rows_leave_the_session_as_it_is() {
        for sql in [
            "INSERT INTO users(name) VALUES (?)",
            "  select * from users where id = $1;",
            "WITH old AS (DELETE FROM a RETURNING *) SELECT count(*) FROM old",
            "SAVEPOINT one",
            "ROLLBACK TO one",
        ] {
            assert!(!may_change_session(sql), "{sql}");
        }
    }

    #[test]
    fn everything_else_may_change_the_session() {
        for sql in [
            "SET search_path = other",
            "set autocommit=0",
            "USE other",
            "CREATE TEMPORARY TABLE evt_queue (id int)",
            "SELECT set_config('search_path', 'other', false)",
            "SELECT pg_advisory_lock(1)",
            "SELECT GET_LOCK('a', 1)",
            "SELECT * INTO TEMP t FROM users",
            "CALL change()",
            "PRAGMA foreign_keys = ON",
            "ATTACH 'other.db' AS other",
            "/* SELECT */ SET x = 1",
            "SELECT 1; SET x = 1",
            "SELECT @a := 1",
        ] {
            assert!(may_change_session(sql), "{sql}");
        }
    }
}
