//! The option `strict_ids` of `migrate`: the database refuses an INSERT that names an id, so that no id
//! is allocated before its INSERT. Statements that leave the id out, as all of ours, are not touched.

use super::{Connection, DatabaseKind};
use crate::config::TableName;
use crate::model::error::Result;
use crate::model::event::MAX_EVENT_ID;
use crate::model::value::Value;

const WHY: &str = "strict_ids: leave the id out, the database draws it";

/// Does nothing where it was done before.
pub(super) fn refuse_given_ids(connection: &mut Connection, table: &TableName) -> Result<()> {
    match connection.kind() {
        DatabaseKind::Sqlite => connection.execute_batch(&sqlite_sql(table)),
        DatabaseKind::Postgres => connection.execute_batch(&postgres_sql(table)),
        DatabaseKind::Mysql => {
            let name = trigger(table);
            let schema = match &table.schema {
                Some(schema) => format!("'{schema}'"),
                None => "DATABASE()".to_owned(),
            };
            let rows = connection.query(
                &format!(
                    "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {schema} \
                     AND TRIGGER_NAME = '{}'",
                    name.name
                ),
                &[],
            )?;
            match rows.first().and_then(|row| row.first()).and_then(Value::as_i64) {
                Some(0) => connection.execute_batch(&mysql_sql(table)),
                _ => Ok(()),
            }
        }
    }
}

fn trigger(table: &TableName) -> TableName {
    TableName { name: format!("{}_fes_ids", table.name), ..table.clone() }
}

/// Before the INSERT, an id that is not given reads -1.
fn sqlite_sql(table: &TableName) -> String {
    let name = trigger(table).quoted('"');
    // The trigger is in the schema of its name, the table is named without one.
    let plain = TableName { schema: None, name: table.name.clone() };
    format!(
        "CREATE TRIGGER IF NOT EXISTS {name} BEFORE INSERT ON {} \
         WHEN NEW.id IS NOT NULL AND NEW.id <> -1 BEGIN SELECT RAISE(ABORT, '{WHY}'); END",
        plain.quoted('"')
    )
}

/// Before the INSERT, an id that is not given reads 0.
fn mysql_sql(table: &TableName) -> String {
    format!(
        "CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW IF NEW.id <> 0 THEN \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{WHY}'; END IF",
        trigger(table).quoted('`'),
        table.quoted('`')
    )
}

/// The sequence of a serial column cannot become that of an identity column: another one of the same
/// name goes on where it is, for the same roles. Nobody can draw an id meanwhile.
fn postgres_sql(table: &TableName) -> String {
    let queue = table.quoted('"');
    format!(
        "DO $do$ DECLARE kind \"char\"; seq text; owner name; next bigint; grants text[]; \
         step text; BEGIN \
         SELECT attidentity INTO kind FROM pg_attribute \
         WHERE attrelid = '{queue}'::regclass AND attname = 'id'; \
         IF kind = 'a' THEN RETURN; END IF; \
         LOCK TABLE {queue} IN ACCESS EXCLUSIVE MODE; \
         IF kind = 'd' THEN \
         ALTER TABLE {queue} ALTER COLUMN id SET GENERATED ALWAYS; RETURN; END IF; \
         seq := pg_get_serial_sequence('{queue}', 'id'); \
         EXECUTE 'SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM ' || seq \
         INTO next; \
         SELECT array_agg(format('GRANT %s ON SEQUENCE %s TO %s', a.privilege_type, seq, \
         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)) INTO grants \
         FROM pg_class c, aclexplode(c.relacl) a \
         WHERE c.oid = seq::regclass AND a.grantee <> c.relowner; \
         ALTER TABLE {queue} ALTER COLUMN id DROP DEFAULT; \
         EXECUTE 'DROP SEQUENCE ' || seq; \
         EXECUTE format('ALTER TABLE {queue} ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY \
         (SEQUENCE NAME %s START WITH %s MAXVALUE {MAX_EVENT_ID})', seq, next); \
         FOREACH step IN ARRAY coalesce(grants, '{{}}') LOOP EXECUTE step; END LOOP; \
         END $do$"
    )
}
