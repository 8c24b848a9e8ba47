//! What the doctor asks of PostgreSQL. Everything here is shown to every role.

use super::{Connection, no_sequence};
use crate::backend;
use crate::backend::doctor::{Checks, OPEN_FOR_LONG, Object, one, texts};
use crate::config::Settings;
use crate::model::check::{Outcome, failure, ok, warning};
use crate::model::error::Result;
use crate::model::value::Value;
use postgres::SimpleQueryMessage;

impl Connection {
    /// The query for the clock, in seconds since 1970.
    pub fn clock_sql(&self) -> &'static str {
        "SELECT extract(epoch FROM clock_timestamp())::bigint"
    }

    pub fn examine(&mut self, settings: &Settings, checks: &mut Checks) {
        let queue = settings.event_table.quoted('"');
        checks.add("version", self.version());
        checks.add("writable", self.writable(&queue));
        checks.add("sequence", self.sequence_settings(&queue));
        checks.add("consumer_ids_left", self.consumer_ids(&settings.consumer_table.quoted('"')));
        checks.add("row_security", self.row_security(settings));
        checks.add("durability", self.durability());
        checks.add("explicit_ids", self.explicit_ids(&queue));
        checks.add("triggers", self.triggers(&queue));
        checks.add("partitions", self.partitions(&queue));
        checks.add("prepared_transactions", self.prepared_transactions());
        checks.add("tls", self.tls());
    }

    fn row(&mut self, sql: &str, params: &[Value]) -> Result<Vec<String>> {
        Ok(texts(self.query(sql, params)?).into_iter().next().unwrap_or_default())
    }

    fn version(&mut self) -> Outcome {
        let number = one(self.query("SELECT current_setting('server_version_num')", &[])?)?;
        judge_version(&number, &one(self.query("SELECT version()", &[])?)?)
    }

    fn writable(&mut self, queue: &str) -> Outcome {
        let sql = "SELECT pg_is_in_recovery()::text, current_setting('transaction_read_only'), \
                   (SELECT string_agg(s.subname, ', ') FROM pg_subscription_rel r \
                   JOIN pg_subscription s ON s.oid = r.srsubid \
                   WHERE r.srrelid = to_regclass($1)::oid)";
        match self.row(sql, &[Value::Text(queue.to_owned())])?.as_slice() {
            [standby, ..] if standby == "true" => failure(
                "the server is a standby",
                "the URL of the primary (several hosts with target_session_attrs=read-write)",
            ),
            [_, only, _] if only == "on" => failure(
                "transactions are read-only here",
                "ALTER ROLE ... RESET default_transaction_read_only, or that of the database",
            ),
            [_, _, names] if !names.is_empty() => failure(
                format!("the subscription {names} brings rows of another server into {queue}"),
                "the URL of the publisher, or DROP SUBSCRIPTION where all events are written here",
            ),
            _ => ok("a primary, read-write"),
        }
    }

    fn sequence_settings(&mut self, queue: &str) -> Outcome {
        let queue_name = Value::Text(queue.to_owned());
        let sql = "SELECT s.seqcache::text, s.seqincrement::text, s.seqcycle::text, \
                   s.seqrelid::regclass::text FROM pg_sequence s \
                   WHERE s.seqrelid = pg_get_serial_sequence($1, 'id')::regclass";
        match self.row(sql, &[queue_name])?.as_slice() {
            [cache, increment, cycle, name] => {
                let seen = format!("{name}: CACHE {cache}, INCREMENT {increment}, CYCLE {cycle}");
                if (cache.as_str(), increment.as_str(), cycle.as_str()) == ("1", "1", "false") {
                    return ok(seen);
                }
                failure(seen, format!("ALTER SEQUENCE {name} CACHE 1 INCREMENT 1 NO CYCLE"))
            }
            _ => failure(no_sequence(queue).to_string(), "migrate()"),
        }
    }

    fn consumer_ids(&mut self, consumers: &str) -> Outcome {
        let name = Value::Text(consumers.to_owned());
        let sql = "SELECT format_type(a.atttypid, NULL), coalesce(s.last_value, 0)::text, \
                   least(s.max_value, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 \
                   WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END)::text \
                   FROM pg_attribute a LEFT JOIN pg_sequences s ON format('%I.%I', s.schemaname, \
                   s.sequencename)::regclass = pg_get_serial_sequence($1, 'id')::regclass \
                   WHERE a.attrelid = $1::regclass AND a.attname = 'id'";
        match self.row(sql, &[name])?.as_slice() {
            [kind, last, most] => {
                let number = |text: &str| text.parse::<f64>().unwrap_or_default();
                let seen = format!("{kind}: {last} of {most} are used");
                if number(last) < number(most) * 0.8 {
                    return ok(seen);
                }
                failure(seen, "migrate(), which widens the column")
            }
            _ => failure("the consumer table has no ids", "migrate()"),
        }
    }

    fn row_security(&mut self, settings: &Settings) -> Outcome {
        for table in [&settings.event_table, &settings.consumer_table] {
            let name = table.quoted('"');
            let params = [Value::Text(name.clone())];
            let sql = "SELECT row_security_active($1::regclass)::text, current_user::text, \
                       (SELECT string_agg(polname, ', ') FROM pg_policy WHERE polrelid = $1::regclass)";
            let row = self.row(sql, &params)?;
            if row.first().is_some_and(|active| active == "true") {
                let (user, policies) = (&row[1], &row[2]);
                return failure(
                    format!("policies of {name} apply to {user}: {policies}"),
                    format!(
                        "ALTER ROLE {user} BYPASSRLS, or ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"
                    ),
                );
            }
        }
        ok("no policy applies to this role")
    }

    /// The process behind the connection. Without a named statement, which poolers lose.
    pub(super) fn pid(&mut self) -> Result<String> {
        let answer = self.driver().simple_query("SELECT pg_backend_pid()")?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(row.unwrap_or_default().to_owned())
    }

    /// Behind a pooler in transaction mode two connections that are both open share a session.
    pub(super) fn shares_session(&mut self, other: &mut backend::Connection) -> Outcome {
        let first = self.pid()?;
        other.begin()?;
        // While the other one holds the session that it was given, this one needs another.
        let pids = other.process().and_then(|second| Ok([second, self.pid()?]));
        other.rollback()?;
        let [second, again] = pids?;
        let shared = first == second || first != again;
        let seen = format!(
            "a pooler gives one session to several connections ({first}, {second}, {again})"
        );
        match (shared, self.pooled) {
            (false, false) => ok("each connection keeps a session of its own"),
            (false, true) => {
                ok("pooler=transaction is set; none was seen to change the session of a connection")
            }
            (true, true) => ok(format!("{seen}, as pooler=transaction says")),
            (true, false) => failure(
                seen,
                "the option pooler=transaction, a pool in session mode, or a URL that goes to the \
                 server itself",
            ),
        }
    }

    fn durability(&mut self) -> Outcome {
        let sql = "SELECT current_setting('synchronous_commit'), current_setting('fsync'), \
                   current_setting('full_page_writes')";
        let row = self.row(sql, &[])?;
        let seen =
            format!("synchronous_commit={}, fsync={}, full_page_writes={}", row[0], row[1], row[2]);
        if row[0] == "off" {
            return warning(seen, "ALTER ROLE ... SET synchronous_commit = on");
        }
        if row[1] == "off" || row[2] == "off" {
            return warning(seen, "fsync = on and full_page_writes = on in postgresql.conf");
        }
        ok(seen)
    }

    fn explicit_ids(&mut self, queue: &str) -> Outcome {
        let sql = "SELECT attidentity::text FROM pg_attribute WHERE attrelid = $1::regclass \
                   AND attname = 'id'";
        match one(self.query(sql, &[Value::Text(queue.to_owned())])?)?.as_str() {
            "a" => ok("the database refuses them (GENERATED ALWAYS)"),
            _ => ok("the database accepts them; migrate with strict_ids=true makes it refuse them"),
        }
    }

    fn triggers(&mut self, queue: &str) -> Outcome {
        let sql = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1::regclass \
                   AND NOT tgisinternal AND tgname NOT LIKE 'fes\\_%' AND tgenabled <> 'D'";
        let rows = texts(self.query(sql, &[Value::Text(queue.to_owned())])?);
        let names: Vec<String> = rows.into_iter().flatten().collect();
        if names.is_empty() {
            return ok("none but those of migrate()");
        }
        warning(
            names.join(", "),
            format!("DROP TRIGGER {} ON {queue}, unless it is meant", names[0]),
        )
    }

    fn partitions(&mut self, queue: &str) -> Outcome {
        let sql = "SELECT count(*)::text FROM pg_inherits WHERE inhparent = $1::regclass";
        ok(format!("{} of them", one(self.query(sql, &[Value::Text(queue.to_owned())])?)?))
    }

    fn prepared_transactions(&mut self) -> Outcome {
        let sql = "SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::bigint::text \
                   FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared";
        let rows = texts(self.query(sql, &[])?);
        let old = |row: &&Vec<String>| row[1].parse::<i64>().is_ok_and(|age| age > OPEN_FOR_LONG);
        let Some(first) = rows.iter().find(old) else {
            return ok(format!("{} of them, none of which is old", rows.len()));
        };
        let seen = format!("{} of them; {:?} for {} s", rows.len(), first[0], first[1]);
        warning(
            seen,
            format!("ROLLBACK PREPARED '{}', or COMMIT PREPARED", first[0].replace('\'', "''")),
        )
    }

    fn tls(&mut self) -> Outcome {
        let sql = "SELECT coalesce((SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()), \
                   'false'), coalesce(host(inet_client_addr()), ''), \
                   coalesce(inet_client_addr() << '127.0.0.0/8' OR inet_client_addr() = '::1', \
                   true)::text";
        let row = self.row(sql, &[])?;
        judge_tls(row[0] == "true", row[2] == "true", &row[1])
    }

    pub fn missing(
        &mut self,
        settings: &Settings,
        needs: &[(&str, Object)],
    ) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (privilege, object) in needs {
            let table = match object {
                Object::Queue | Object::QueueSequence => &settings.event_table,
                Object::Consumers | Object::ConsumersSequence => &settings.consumer_table,
                Object::History => &settings.history_table,
            };
            let table = table.quoted('"');
            let params = [Value::Text(table.clone()), Value::Text((*privilege).to_owned())];
            let sequence = matches!(object, Object::QueueSequence | Object::ConsumersSequence);
            let sql = if sequence {
                "SELECT coalesce(has_sequence_privilege(pg_get_serial_sequence($1, 'id'), $2), \
                 true)::text, current_user::text, coalesce(pg_get_serial_sequence($1, 'id'), '')"
            } else {
                "SELECT has_table_privilege($1, $2)::text, current_user::text, $1::text"
            };
            let row = self.row(sql, &params)?;
            if row[0] != "true" {
                let what = if sequence { "SEQUENCE " } else { "" };
                missing.push(format!("GRANT {privilege} ON {what}{} TO {}", row[2], row[1]));
            }
        }
        Ok(missing)
    }
}

fn judge_version(number: &str, name: &str) -> Outcome {
    let seen = name.split(" on ").next().unwrap_or_default().to_owned();
    match number.parse::<u32>() {
        Ok(130_000..) if name.starts_with("PostgreSQL") => ok(seen),
        _ => failure(seen, "PostgreSQL 13 or later"),
    }
}

/// Whether a connection from there, within this machine or not, keeps what it says to itself.
fn judge_tls(encrypted: bool, local: bool, from: &str) -> Outcome {
    match (encrypted, local) {
        (true, _) => ok("the connection is encrypted"),
        (false, true) => ok("not encrypted, within this machine"),
        (false, false) => warning(
            format!("the connection from {from} is not encrypted"),
            "sslmode=verify-full in the URL, and ssl = on at the server",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::CheckStatus::{self, Failure, Ok, Warning};

    fn status(outcome: Outcome) -> CheckStatus {
        outcome.unwrap().0
    }

    #[test]
    fn older_versions_and_servers_of_another_name_are_failures() {
        let judged = |number, name| status(judge_version(number, name));
        assert_eq!(judged("150008", "PostgreSQL 15.8 (Debian) on x86_64"), Ok);
        assert_eq!(judged("120022", "PostgreSQL 12.22 on x86_64"), Failure);
        assert_eq!(judged("130000", "CockroachDB CCL v24.1 on x86_64"), Failure);
        assert_eq!(judged("", "PostgreSQL"), Failure);
    }

    #[test]
    fn only_a_connection_that_leaves_the_machine_unencrypted_is_a_warning() {
        assert_eq!(status(judge_tls(true, false, "192.0.2.1")), Ok);
        assert_eq!(status(judge_tls(false, true, "127.0.0.1")), Ok);
        assert_eq!(status(judge_tls(false, false, "192.0.2.1")), Warning);
    }
}
