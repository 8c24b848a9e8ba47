//! Options of a stream, and the names of its tables.
//!
//! Options are strings, so that they read the same in a URL, in the environment and in every
//! language. [`OPTIONS`] is the one list of them; `docs/options.md` is made from it.

pub(crate) mod url;

use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::shorten;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One option: its name, its default, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key for [`Options::set`].
    pub name: &'static str,
    /// The value it has when it is not set.
    pub default: &'static str,
    /// What it means, with its unit.
    pub help: &'static str,
}

const fn option(name: &'static str, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, default, help }
}

/// Every option there is.
pub const OPTIONS: &[OptionSpec] = &[
    option("event_table", "evt_queue", "Table of the events, `name` or `schema.name`."),
    option("consumer_table", "evt_consumers", "Table of the registered consumers."),
    option("history_table", "evt_history", "Table of all history, in the warehouse database."),
    option("max_connections", "10", "Most connections open at once, 1 to 1000."),
    option(
        "connect_timeout_ms",
        "10000",
        "Longest wait for a connection, in ms: for all hosts of the URL together.",
    ),
    option(
        "call_timeout_ms",
        "30000",
        "Servers: longest wait for the answer to one call, in ms; 0 waits for ever. What is over it is \
         `Timeout`, or `ConnectionLost` for a write that may or may not have happened, and the \
         connection is given up. `stop` without a limit of time of its own waits so long for a server \
         that is silent. What it bounds: docs/deployments.md. Not over a Unix socket of PostgreSQL.",
    ),
    option(
        "keepalive_idle_s",
        "10",
        "Servers: after so many seconds of silence each side asks whether the other one is there; 0 \
         leaves it to the operating system. A dead host keeps its leases for twice the time after which \
         it is given up: 38 s by default.",
    ),
    option("keepalive_interval_s", "3", "Servers: the time between such questions, in s."),
    option("keepalive_count", "3", "Servers: after so many without an answer the connection ends."),
    option(
        "target_session_attrs",
        "any",
        "Servers: `read-write` takes the first host of the URL that accepts writes, `primary` the first \
         that is no standby (MySQL: both mean not read-only), `any` the first that answers.",
    ),
    option("busy_timeout_ms", "5000", "SQLite: longest wait for another writer, in ms."),
    option(
        "sqlite_synchronous",
        "full",
        "SQLite: `full` makes every commit durable; `normal` may lose the last ones at a power cut.",
    ),
    option(
        "sqlite_foreign_keys",
        "false",
        "SQLite: whether foreign keys are enforced for the SQL of your own transactions. SQLite's own \
         default is not to.",
    ),
    option(
        "max_event_bytes",
        "8388608",
        "Most bytes of JSON text in one event; larger ones are refused.",
    ),
    option("max_chunk_events", "1000", "Most events that one poll returns, 1 to 1000."),
    option(
        "max_chunk_bytes",
        "16777216",
        "A poll stops after this many bytes of data (but returns at least one event).",
    ),
    option(
        "check_json",
        "false",
        "Whether a row whose data is no JSON, which plain SQL can put into a text column, is a row that \
         cannot be read (`CorruptEvent`). With `false` its text is given as it is. To look at 100 bytes \
         takes 0.15 microseconds. Node.js sets it to `true`; Python looks when `data` is asked for.",
    ),
    option("sleep_min_ms", "1", "Push: first wait for new events when there are none, in ms."),
    option("sleep_step_ms", "1", "Push: the wait grows by this, in ms."),
    option(
        "sleep_max_ms",
        "30",
        "Push: the longest wait, in ms. SQLite looks every 2 to 10 ms anyway.",
    ),
    option("queue_max", "10000", "Push: most events that wait for one subscriber."),
    option("queue_max_bytes", "67108864", "Push: most bytes of data that wait for one subscriber."),
    option(
        "request_max",
        "0",
        "Push: most deliveries without an acknowledgement; 0 is 1 for reliable, 2 for LIVE.",
    ),
    option(
        "ack_interval_ms",
        "100",
        "Push: the cursor is stored at most this often, in ms. After a crash the events of about \
         this time come again.",
    ),
    option(
        "notify",
        "false",
        "PostgreSQL: `migrate` installs a trigger that notifies readers at once. It takes a \
         global lock at every commit of an event and forbids PREPARE TRANSACTION for them. After a \
         second without a notification readers look every 100 ms only: so long an event may wait \
         whose predecessor was held open and then rolled back, which notifies nobody.",
    ),
    option(
        "pooler",
        "session",
        "PostgreSQL: `transaction` where a pooler (PgBouncer, RDS Proxy, Neon, Supabase) gives the \
         server's sessions to clients for one transaction each. Nothing is kept in sessions then, \
         and the lease of a receiver is a row of the table `evt_leases`, which `migrate` makes with \
         this option. It does not go with `notify`.",
    ),
    option(
        "strict_ids",
        "false",
        "`migrate` makes the database refuse events whose INSERT names an id: an id that was allocated or \
         chosen before the INSERT can appear below what consumers have read, and is lost to them. \
         PostgreSQL: GENERATED ALWAYS (COPY and OVERRIDING SYSTEM VALUE still get through); elsewhere a \
         trigger. Setting it to `false` later takes nothing back.",
    ),
    option(
        "reregister",
        "false",
        "Receiver: what to do when somebody has unregistered its consumer, or the database was made \
         anew. `true` registers it again and goes on with the first event that is still there, so \
         that events come again, and none that is there is left out; `false` stops the receiver. \
         Both tell it first.",
    ),
    option("archive_batch", "5000", "Archiver: most events of one write, 1 to 10000."),
    option("limit_at_once", "1000", "Discarder: most events of one deletion, 1 to 100000."),
    option("poll_period_ms", "600000", "Discarder: the wait when there is nothing to do, in ms."),
    option(
        "require_archiver",
        "auto",
        "Discarder: `true` discards nothing while no archiver is registered; `auto` is `true` in a \
         service app with a warehouse, else `false`.",
    ),
    option(
        "expire_after_s",
        "0",
        "Discarder: unregisters consumers that were not seen for this time, in s, 60 or more; 0 \
         never does. The archiver always stays. A jump of the clock does not count: a discarder that \
         runs ages consumers by its own clock, and one that has just begun believes the table only if \
         another consumer was seen lately and the clocks agree.",
    ),
    option("enable_archiver", "true", "Service app: whether to archive, if there is a warehouse."),
    option("enable_discarder", "false", "Service app: whether to discard."),
    option("allow_reliable", "true", "Whether consumers may register and poll reliably."),
    option("allow_polling", "true", "Whether consumers may poll at all."),
    option(
        "single_writer_node",
        "false",
        "Clusters with several writing nodes (Galera, group replication), replicas, balancers: the \
         promise that every event is written on the node of this URL. See deployments.md.",
    ),
    option(
        "create",
        "true",
        "SQLite: whether a file that does not exist is made, for its owner alone (0600). With `false` \
         a mistyped path is an error in place of an empty database.",
    ),
    option(
        "allow_foreign_sqlite",
        "false",
        "SQLite: open the file although another SQLite library in this process uses it. \
         Acknowledged events can vanish.",
    ),
];

/// Options that differ from their defaults.
///
/// ```
/// use futoin_eventstream::{ErrorKind, Options};
/// let options = Options::new().set("max_connections", "4").unwrap();
/// let unknown = Options::new().set("max_conections", "4").unwrap_err();
/// assert_eq!(unknown.kind(), ErrorKind::InvalidOption);
/// ```
///
/// # All options
///
#[doc = include_str!("../../docs/options.md")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    settings: Settings,
    /// What was set, each option once.
    given: Vec<(String, String)>,
}

impl Options {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one option.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for an unknown name, naming the nearest, or a value that makes
    /// no sense.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self> {
        self.settings.set(name, value)?;
        // Once each: whoever changes one before every call does not make the list longer.
        match self.given.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.given.push((name.to_owned(), value.to_owned())),
        }
        Ok(self)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `base` with what was set here.
    pub(crate) fn over(&self, base: &Settings) -> Settings {
        let mut settings = base.clone();
        for (name, value) in &self.given {
            // Was accepted before.
            let _ = settings.set(name, value);
        }
        settings
    }
}

/// The parsed form of [`Options`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub event_table: TableName,
    pub consumer_table: TableName,
    pub history_table: TableName,
    pub max_connections: u32,
    pub connect_timeout: Duration,
    /// `None` waits for ever.
    pub call_timeout: Option<Duration>,
    pub keepalive: Keepalive,
    pub session: SessionAttrs,
    pub busy_timeout: Duration,
    pub sqlite_synchronous: Synchronous,
    pub sqlite_foreign_keys: bool,
    pub max_event_bytes: usize,
    pub max_chunk_events: usize,
    pub max_chunk_bytes: usize,
    pub check_json: bool,
    pub sleep_min: Duration,
    pub sleep_step: Duration,
    pub sleep_max: Duration,
    pub queue_max: usize,
    pub queue_max_bytes: usize,
    pub request_max: usize,
    pub ack_interval: Duration,
    pub notify: bool,
    pub pooler: Pooler,
    pub strict_ids: bool,
    pub reregister: bool,
    pub archive_batch: usize,
    pub limit_at_once: usize,
    pub poll_period: Duration,
    /// `None` depends on where the discarder is.
    pub require_archiver: Option<bool>,
    /// Seconds; 0 never.
    pub expire_after: u64,
    pub enable_archiver: bool,
    pub enable_discarder: bool,
    pub allow_reliable: bool,
    pub allow_polling: bool,
    pub single_writer_node: bool,
    pub create: bool,
    pub allow_foreign_sqlite: bool,
}

/// When a connection on which nothing comes is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    /// Seconds; 0 leaves it to the operating system.
    pub idle: u32,
    pub interval: u32,
    pub count: u32,
}

impl Keepalive {
    /// After this time without an answer the connection ends.
    pub fn patience(self) -> Duration {
        Duration::from_secs(u64::from(self.idle) + u64::from(self.interval) * u64::from(self.count))
    }
}

/// Which of several hosts will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionAttrs {
    Any,
    ReadWrite,
    Primary,
}

/// How a pooler before the server hands out sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooler {
    /// There is none, or one that gives a session to one client until it disconnects.
    Session,
    /// One that gives it for a transaction.
    Transaction,
}

/// SQLite's durability of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synchronous {
    Full,
    Normal,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            event_table: TableName::plain("evt_queue"),
            consumer_table: TableName::plain("evt_consumers"),
            history_table: TableName::plain("evt_history"),
            max_connections: 10,
            connect_timeout: Duration::from_millis(10_000),
            call_timeout: Some(Duration::from_millis(30_000)),
            keepalive: Keepalive { idle: 10, interval: 3, count: 3 },
            session: SessionAttrs::Any,
            busy_timeout: Duration::from_millis(5_000),
            sqlite_synchronous: Synchronous::Full,
            sqlite_foreign_keys: false,
            max_event_bytes: 8 << 20,
            max_chunk_events: 1000,
            max_chunk_bytes: 16 << 20,
            check_json: false,
            sleep_min: Duration::from_millis(1),
            sleep_step: Duration::from_millis(1),
            sleep_max: Duration::from_millis(30),
            queue_max: 10_000,
            queue_max_bytes: 64 << 20,
            request_max: 0,
            ack_interval: Duration::from_millis(100),
            notify: false,
            pooler: Pooler::Session,
            strict_ids: false,
            reregister: false,
            archive_batch: 5000,
            limit_at_once: 1000,
            poll_period: Duration::from_millis(600_000),
            require_archiver: None,
            expire_after: 0,
            enable_archiver: true,
            enable_discarder: false,
            allow_reliable: true,
            allow_polling: true,
            single_writer_node: false,
            create: true,
            allow_foreign_sqlite: false,
        }
    }
}

impl Settings {
    /// Whether there is an option of this name.
    pub fn knows(name: &str) -> bool {
        OPTIONS.iter().any(|spec| spec.name == name)
    }

    /// Sets one option from its text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "event_table" => self.event_table = TableName::parse(name, value)?,
            "consumer_table" => self.consumer_table = TableName::parse(name, value)?,
            "history_table" => self.history_table = TableName::parse(name, value)?,
            "max_connections" => self.max_connections = number(name, value, 1, 1000)?,
            "connect_timeout_ms" => self.connect_timeout = millis(name, value)?,
            "call_timeout_ms" if value == "0" => self.call_timeout = None,
            "call_timeout_ms" => self.call_timeout = Some(millis(name, value)?),
            "keepalive_idle_s" => self.keepalive.idle = number(name, value, 0, 7200)?,
            "keepalive_interval_s" => self.keepalive.interval = number(name, value, 1, 3600)?,
            "keepalive_count" => self.keepalive.count = number(name, value, 1, 100)?,
            "target_session_attrs" => {
                self.session = match value {
                    "any" => SessionAttrs::Any,
                    "read-write" => SessionAttrs::ReadWrite,
                    "primary" => SessionAttrs::Primary,
                    _ => return Err(bad_value(name, value, "`any`, `read-write` or `primary`")),
                }
            }
            "busy_timeout_ms" => self.busy_timeout = millis(name, value)?,
            "sqlite_synchronous" => {
                self.sqlite_synchronous = match value {
                    "full" => Synchronous::Full,
                    "normal" => Synchronous::Normal,
                    _ => return Err(bad_value(name, value, "`full` or `normal`")),
                }
            }
            "sqlite_foreign_keys" => self.sqlite_foreign_keys = flag(name, value)?,
            "max_event_bytes" => self.max_event_bytes = number(name, value, 1, 1 << 30)?,
            "max_chunk_events" => self.max_chunk_events = number(name, value, 1, 1000)?,
            "max_chunk_bytes" => self.max_chunk_bytes = number(name, value, 1, 1 << 30)?,
            "check_json" => self.check_json = flag(name, value)?,
            "sleep_min_ms" => self.sleep_min = millis(name, value)?,
            "sleep_step_ms" => self.sleep_step = millis(name, value)?,
            "sleep_max_ms" => self.sleep_max = millis(name, value)?,
            "queue_max" => self.queue_max = number(name, value, 1, 10_000_000)?,
            "queue_max_bytes" => self.queue_max_bytes = number(name, value, 1, 1 << 34)?,
            "request_max" => self.request_max = number(name, value, 0, 1000)?,
            "ack_interval_ms" => self.ack_interval = millis(name, value)?,
            "notify" => self.notify = flag(name, value)?,
            "pooler" => {
                self.pooler = match value {
                    "session" => Pooler::Session,
                    "transaction" => Pooler::Transaction,
                    _ => return Err(bad_value(name, value, "`session` or `transaction`")),
                }
            }
            "strict_ids" => self.strict_ids = flag(name, value)?,
            "reregister" => self.reregister = flag(name, value)?,
            "archive_batch" => self.archive_batch = number(name, value, 1, 10_000)?,
            "limit_at_once" => self.limit_at_once = number(name, value, 1, 100_000)?,
            "poll_period_ms" => self.poll_period = millis(name, value)?,
            "require_archiver" if value == "auto" => self.require_archiver = None,
            "require_archiver" => self.require_archiver = Some(flag(name, value)?),
            "expire_after_s" if value == "0" => self.expire_after = 0,
            "expire_after_s" => self.expire_after = number(name, value, 60, 3_153_600_000)?,
            "enable_archiver" => self.enable_archiver = flag(name, value)?,
            "enable_discarder" => self.enable_discarder = flag(name, value)?,
            "allow_reliable" => self.allow_reliable = flag(name, value)?,
            "allow_polling" => self.allow_polling = flag(name, value)?,
            "single_writer_node" => self.single_writer_node = flag(name, value)?,
            "create" => self.create = flag(name, value)?,
            "allow_foreign_sqlite" => self.allow_foreign_sqlite = flag(name, value)?,
            _ => fail!(
                InvalidOption,
                "there is no option {:?}; the options are {}",
                shorten(name),
                OPTIONS.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")
            ),
        }
        Ok(())
    }
}

fn bad_value(name: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!("option {name} is {:?}, not {allowed}", shorten(value)),
    )
}

fn number<T: FromStr + PartialOrd + fmt::Display>(
    name: &str,
    value: &str,
    low: T,
    high: T,
) -> Result<T> {
    match value.parse::<T>() {
        Ok(number) if number >= low && number <= high => Ok(number),
        _ => Err(bad_value(name, value, &format!("a whole number from {low} to {high}"))),
    }
}

fn millis(name: &str, value: &str) -> Result<Duration> {
    Ok(Duration::from_millis(number(name, value, 1, 3_600_000)?))
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad_value(name, value, "`true` or `false`")),
    }
}

/// A checked table name, with its schema where one was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

impl TableName {
    fn plain(name: &str) -> Self {
        TableName { schema: None, name: name.to_owned() }
    }

    /// Reads `name` or `schema.name`; each part is `^[A-Za-z_][A-Za-z0-9_]{0,47}$`.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let identifier = |part: &str| {
            (1..=48).contains(&part.len())
                && !part.as_bytes()[0].is_ascii_digit()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if !identifier(name) || !schema.is_none_or(identifier) {
            return Err(bad_value(
                option,
                text,
                "a table name: `name` or `schema.name` of letters, digits and underscores, not \
                 starting with a digit, at most 48 characters each",
            ));
        }
        Ok(TableName { schema: schema.map(str::to_owned), name: name.to_owned() })
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

    #[test]
    fn the_list_of_options_is_the_truth() {
        let mut settings = Settings::default();
        for spec in OPTIONS {
            settings.set(spec.name, spec.default).unwrap();
            assert!(!spec.name.ends_with("_ms") || settings.set(spec.name, "x").is_err());
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn an_option_that_is_set_again_takes_the_place_of_itself() {
        let mut options = Options::new();
        for number in 1..=1000 {
            options = options.set("queue_max", &number.to_string()).unwrap();
            options = options.set("max_connections", "4").unwrap();
        }
        assert_eq!(options.given.len(), 2);
        let settings = options.over(&Settings::default());
        assert_eq!((settings.queue_max, settings.max_connections), (1000, 4));
    }

    /// `UPDATE_DOCS=1 cargo test` rewrites the file.
    #[test]
    fn the_table_in_the_docs_is_up_to_date() {
        let mut table = String::from("| option | default | meaning |\n| --- | --- | --- |\n");
        for spec in OPTIONS {
            table += &format!("| `{}` | `{}` | {} |\n", spec.name, spec.default, spec.help);
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), table, "run UPDATE_DOCS=1 cargo test");
    }

    proptest! {
        #[test]
        fn no_table_name_breaks_out_of_its_quotes(text in ".{0,60}") {
            if let Ok(table) = TableName::parse("event_table", &text) {
                prop_assert!(table.quoted('"').chars().all(|c| c.is_ascii_alphanumeric() || "\"._".contains(c)));
                prop_assert_eq!(table.to_string(), text);
            }
        }

        #[test]
        fn no_option_value_panics(index in 0..OPTIONS.len(), value in ".{0,30}") {
            let _ = Options::new().set(OPTIONS[index].name, &value);
        }
    }
}
