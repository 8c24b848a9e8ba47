//! The list of all options: what each is for, what it may be, and what it is by default. Values are checked
//! by it, and `docs/options.md` is made from it.

use super::OptionValues::*;
use super::{OptionScope, OptionSpec};

/// In milliseconds.
const HOUR: u64 = 3_600_000;

/// Every option there is.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "event_table",
        scope: OptionScope::Stream,
        databases: "all",
        values: Table,
        unit: "",
        default: "evt_queue",
        help: "Table of the events.",
    },
    OptionSpec {
        name: "consumer_table",
        scope: OptionScope::Stream,
        databases: "all",
        values: Table,
        unit: "",
        default: "evt_consumers",
        help: "Table of the registered consumers.",
    },
    OptionSpec {
        name: "max_event_bytes",
        scope: OptionScope::Stream,
        databases: "all",
        values: Number(1, 1 << 30),
        unit: "bytes",
        default: "8388608",
        help: "Most JSON text in one event; a larger one is refused.",
    },
    OptionSpec {
        name: "strict_ids",
        scope: OptionScope::Stream,
        databases: "all",
        values: Flag,
        unit: "",
        default: "false",
        help: "`migrate` makes the database refuse events whose INSERT names an id: an id that was \
         allocated or chosen before the INSERT can appear below what consumers have read, and is \
         lost to them. PostgreSQL: GENERATED ALWAYS (COPY and OVERRIDING SYSTEM VALUE still get \
         through); elsewhere a trigger. Setting it to `false` later takes nothing back.",
    },
    OptionSpec {
        name: "single_writer_node",
        scope: OptionScope::Stream,
        databases: "servers",
        values: Flag,
        unit: "",
        default: "false",
        help: "Clusters with several writing nodes (Galera, group replication), replicas, balancers: \
         the promise that every event is written on the node of this URL. See deployments.md.",
    },
    OptionSpec {
        name: "notify",
        scope: OptionScope::Stream,
        databases: "PostgreSQL",
        values: Flag,
        unit: "",
        default: "false",
        help: "`migrate` installs a trigger that notifies readers at once. It takes a global lock at \
         every commit of an event and forbids PREPARE TRANSACTION for them. After a second \
         without a notification readers look every 100 ms. A rollback notifies nobody, so an event \
         that waited for one may come up to 100 ms late.",
    },
    OptionSpec {
        name: "sleep_min_ms",
        scope: OptionScope::Stream,
        databases: "all",
        values: Number(1, HOUR),
        unit: "ms",
        default: "1",
        help: "First wait for new events when there are none, for subscriptions, receivers and waiting \
         polls.",
    },
    OptionSpec {
        name: "sleep_step_ms",
        scope: OptionScope::Stream,
        databases: "all",
        values: Number(1, HOUR),
        unit: "ms",
        default: "1",
        help: "The wait grows by this.",
    },
    OptionSpec {
        name: "sleep_max_ms",
        scope: OptionScope::Stream,
        databases: "all",
        values: Number(1, HOUR),
        unit: "ms",
        default: "30",
        help: "The longest wait. SQLite looks every 2 to 10 ms anyway.",
    },
    OptionSpec {
        name: "max_connections",
        scope: OptionScope::Connection,
        databases: "all",
        values: Number(1, 1000),
        unit: "connections",
        default: "10",
        help: "Most connections open at once.",
    },
    OptionSpec {
        name: "connect_timeout_ms",
        scope: OptionScope::Connection,
        databases: "all",
        values: Number(1, HOUR),
        unit: "ms",
        default: "10000",
        help: "Longest wait for a connection: for all hosts of the URL together.",
    },
    OptionSpec {
        name: "call_timeout_ms",
        scope: OptionScope::Connection,
        databases: "servers",
        values: Number(0, HOUR),
        unit: "ms",
        default: "30000",
        help: "Longest wait for the answer to one call; 0 waits for ever. What is over it is `Timeout`, \
         or `ConnectionLost` for a write that may or may not have happened, and the connection is \
         given up. `stop` without a limit of time of its own waits so long for a server that is \
         silent. What it bounds: docs/deployments.md. Not over a Unix socket of PostgreSQL.",
    },
    OptionSpec {
        name: "keepalive_idle_s",
        scope: OptionScope::Connection,
        databases: "servers",
        values: Number(0, 7200),
        unit: "s",
        default: "10",
        help: "After so many seconds of silence each side asks whether the other one is there; 0 leaves \
         it to the operating system. A dead host keeps its leases for twice the time after which \
         it is given up: 38 s by default.",
    },
    OptionSpec {
        name: "keepalive_interval_s",
        scope: OptionScope::Connection,
        databases: "servers",
        values: Number(1, 3600),
        unit: "s",
        default: "3",
        help: "The time between such questions.",
    },
    OptionSpec {
        name: "keepalive_count",
        scope: OptionScope::Connection,
        databases: "servers",
        values: Number(1, 100),
        unit: "questions",
        default: "3",
        help: "After so many without an answer the connection ends.",
    },
    OptionSpec {
        name: "target_session_attrs",
        scope: OptionScope::Connection,
        databases: "servers",
        values: OneOf(&["any", "read-write", "primary"]),
        unit: "",
        default: "any",
        help: "`read-write` takes the first host of the URL that accepts writes, `primary` the first \
         that is no standby (MySQL: both mean not read-only), `any` the first that answers.",
    },
    OptionSpec {
        name: "pooler",
        scope: OptionScope::Connection,
        databases: "PostgreSQL",
        values: OneOf(&["session", "transaction"]),
        unit: "",
        default: "session",
        help: "`transaction` where a pooler (PgBouncer, RDS Proxy, Neon, Supabase) gives the server's \
         sessions to clients for one transaction each. Nothing is kept in sessions then, and the \
         lease of a receiver is a row of the table `evt_leases`, which `migrate` makes with this \
         option. It does not go with `notify`.",
    },
    OptionSpec {
        name: "busy_timeout_ms",
        scope: OptionScope::Connection,
        databases: "SQLite",
        values: Number(1, HOUR),
        unit: "ms",
        default: "5000",
        help: "Longest wait for another writer.",
    },
    OptionSpec {
        name: "sqlite_synchronous",
        scope: OptionScope::Connection,
        databases: "SQLite",
        values: OneOf(&["full", "normal"]),
        unit: "",
        default: "full",
        help: "`full` makes every commit durable; `normal` may lose the last ones at a power cut.",
    },
    OptionSpec {
        name: "sqlite_foreign_keys",
        scope: OptionScope::Connection,
        databases: "SQLite",
        values: Flag,
        unit: "",
        default: "false",
        help: "Whether foreign keys are enforced for the SQL of your own transactions. SQLite's own \
         default is not to.",
    },
    OptionSpec {
        name: "create",
        scope: OptionScope::Connection,
        databases: "SQLite",
        values: Flag,
        unit: "",
        default: "true",
        help: "Whether a file that does not exist is made, for its owner alone (0600). With `false` a \
         mistyped path is an error in place of an empty database.",
    },
    OptionSpec {
        name: "allow_foreign_sqlite",
        scope: OptionScope::Connection,
        databases: "SQLite",
        values: Flag,
        unit: "",
        default: "false",
        help: "Open the file although another SQLite library in this process uses it. Acknowledged \
         events can vanish.",
    },
    OptionSpec {
        name: "max_chunk_events",
        scope: OptionScope::Consumer,
        databases: "all",
        values: Number(1, 1000),
        unit: "events",
        default: "1000",
        help: "Most events that one poll, or one delivery, gives.",
    },
    OptionSpec {
        name: "max_chunk_bytes",
        scope: OptionScope::Consumer,
        databases: "all",
        values: Number(1, 1 << 30),
        unit: "bytes",
        default: "16777216",
        help: "A poll stops after so much data, but gives at least one event.",
    },
    OptionSpec {
        name: "check_json",
        scope: OptionScope::Consumer,
        databases: "all",
        values: Flag,
        unit: "",
        default: "false",
        help: "Whether a row whose data is no JSON, which plain SQL can put into a text column, is a \
         row that cannot be read (`CorruptEvent`). With `false` its text is given as it is. To \
         look at 100 bytes takes 0.15 microseconds. Node.js sets it to `true`; Python looks when \
         `data` is asked for.",
    },
    OptionSpec {
        name: "allow_reliable",
        scope: OptionScope::Consumer,
        databases: "all",
        values: Flag,
        unit: "",
        default: "true",
        help: "Whether consumers may register and poll reliably.",
    },
    OptionSpec {
        name: "allow_polling",
        scope: OptionScope::Consumer,
        databases: "all",
        values: Flag,
        unit: "",
        default: "true",
        help: "Whether consumers may poll at all.",
    },
    OptionSpec {
        name: "queue_max",
        scope: OptionScope::Subscription,
        databases: "all",
        values: Number(1, 10_000_000),
        unit: "events",
        default: "10000",
        help: "Most events that wait for one subscriber.",
    },
    OptionSpec {
        name: "queue_max_bytes",
        scope: OptionScope::Subscription,
        databases: "all",
        values: Number(1, 1 << 34),
        unit: "bytes",
        default: "67108864",
        help: "Most data that waits for one subscriber.",
    },
    OptionSpec {
        name: "request_max",
        scope: OptionScope::Subscription,
        databases: "all",
        values: Number(0, 1000),
        unit: "deliveries",
        default: "0",
        help: "Most deliveries without an acknowledgement; 0 is 1 for a reliable consumer, 2 for LIVE.",
    },
    OptionSpec {
        name: "ack_interval_ms",
        scope: OptionScope::Subscription,
        databases: "all",
        values: Number(1, HOUR),
        unit: "ms",
        default: "100",
        help: "The cursor is stored at most this often. After a crash the events of about this time \
         come again.",
    },
    OptionSpec {
        name: "reregister",
        scope: OptionScope::Receiver,
        databases: "all",
        values: Flag,
        unit: "",
        default: "false",
        help: "What to do when somebody has unregistered its consumer, or the database was made anew. \
         `true` registers it again and goes on with the first event that is still there, so that \
         events come again, and none that is there is left out; `false` stops the receiver. Both \
         tell it first.",
    },
    OptionSpec {
        name: "history_table",
        scope: OptionScope::Warehouse,
        databases: "all",
        values: Table,
        unit: "",
        default: "evt_history",
        help: "Table of all history, in the warehouse database.",
    },
    OptionSpec {
        name: "archive_batch",
        scope: OptionScope::Archiver,
        databases: "all",
        values: Number(1, 10_000),
        unit: "events",
        default: "5000",
        help: "Most events of one write.",
    },
    OptionSpec {
        name: "limit_at_once",
        scope: OptionScope::Discarder,
        databases: "all",
        values: Number(1, 100_000),
        unit: "events",
        default: "1000",
        help: "Most events of one deletion.",
    },
    OptionSpec {
        name: "poll_period_ms",
        scope: OptionScope::Discarder,
        databases: "all",
        values: Number(1, HOUR),
        unit: "ms",
        default: "600000",
        help: "The wait when there is nothing to do.",
    },
    OptionSpec {
        name: "require_archiver",
        scope: OptionScope::Discarder,
        databases: "all",
        values: FlagOr("auto"),
        unit: "",
        default: "auto",
        help: "`true` discards nothing while no archiver is registered; `auto` is `true` in a service \
         app with a warehouse, else `false`.",
    },
    OptionSpec {
        name: "expire_after_s",
        scope: OptionScope::Discarder,
        databases: "all",
        values: ZeroOr(60, 3_153_600_000),
        unit: "s",
        default: "0",
        help: "Unregisters consumers that were not seen for this time; 0 never does. The archiver \
         always stays. A jump of the clock does not count: a discarder that runs ages consumers \
         by its own clock, and one that has just begun believes the table only if another \
         consumer was seen lately and the clocks agree.",
    },
    OptionSpec {
        name: "enable_archiver",
        scope: OptionScope::ServiceApp,
        databases: "all",
        values: Flag,
        unit: "",
        default: "true",
        help: "Whether to archive, if there is a warehouse.",
    },
    OptionSpec {
        name: "enable_discarder",
        scope: OptionScope::ServiceApp,
        databases: "all",
        values: Flag,
        unit: "",
        default: "false",
        help: "Whether to discard.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of `docs/options.md`.
    fn documentation() -> String {
        let mut text = String::from(
            "Options are texts: set them with `Options::set`, in the query of a database URL \
             (`?max_connections=4`) or where a language takes options.\n",
        );
        for scope in OptionScope::ALL {
            text += &format!("\n## {scope:?}\n\n{}\n\n", scope.given());
            text += "| Option | Values | Unit | Default | Databases | Meaning |\n\
                     | --- | --- | --- | --- | --- | --- |\n";
            for spec in OPTIONS.iter().filter(|spec| spec.scope == scope) {
                let OptionSpec { name, values, unit, default, databases, help, .. } = spec;
                text += &format!(
                    "| `{name}` | {values} | {unit} | `{default}` | {databases} | {help} |\n"
                );
            }
        }
        text
    }

    /// `UPDATE_DOCS=1 cargo test --lib` rewrites the file.
    #[test]
    fn the_tables_in_the_docs_are_up_to_date() {
        let text = documentation();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, text, "run UPDATE_DOCS=1 cargo test --lib");
    }

    #[test]
    fn each_option_is_described_once_and_with_its_unit() {
        for (index, spec) in OPTIONS.iter().enumerate() {
            assert!(!OPTIONS[..index].iter().any(|other| other.name == spec.name), "{}", spec.name);
            assert!(spec.help.ends_with('.'), "{}", spec.name);
            let is_number = matches!(spec.values, Number(..) | ZeroOr(..));
            assert_eq!(is_number, !spec.unit.is_empty(), "{}", spec.name);
            for (ending, unit) in [("_ms", "ms"), ("_s", "s"), ("_bytes", "bytes")] {
                assert!(!spec.name.ends_with(ending) || spec.unit == unit, "{}", spec.name);
            }
        }
    }
}
