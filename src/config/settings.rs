//! The parsed form of the options.

use super::{OPTIONS, OptionSpec, TableName};
use crate::model::error::{Result, fail};
use crate::model::event::shorten;
use std::time::Duration;

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
        OptionSpec::find(name).is_some()
    }

    /// Sets one option from its text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let Some(spec) = OptionSpec::find(name) else {
            fail!(
                InvalidOption,
                "there is no option {:?}; the options are {}",
                shorten(name),
                OPTIONS.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")
            )
        };
        let table = || TableName::parse(value).ok_or_else(|| spec.refuse(value));
        let flag = || spec.flag(value);
        let count = || spec.number::<usize>(value);
        let millis = || spec.number(value).map(Duration::from_millis);
        match name {
            "event_table" => self.event_table = table()?,
            "consumer_table" => self.consumer_table = table()?,
            "history_table" => self.history_table = table()?,
            "max_connections" => self.max_connections = spec.number(value)?,
            "connect_timeout_ms" => self.connect_timeout = millis()?,
            "call_timeout_ms" => self.call_timeout = Some(millis()?).filter(|time| !time.is_zero()),
            "keepalive_idle_s" => self.keepalive.idle = spec.number(value)?,
            "keepalive_interval_s" => self.keepalive.interval = spec.number(value)?,
            "keepalive_count" => self.keepalive.count = spec.number(value)?,
            "target_session_attrs" => {
                use SessionAttrs::*;
                self.session = spec.one_of(value, [Any, ReadWrite, Primary])?;
            }
            "busy_timeout_ms" => self.busy_timeout = millis()?,
            "sqlite_synchronous" => {
                let means = [Synchronous::Full, Synchronous::Normal];
                self.sqlite_synchronous = spec.one_of(value, means)?;
            }
            "sqlite_foreign_keys" => self.sqlite_foreign_keys = flag()?,
            "max_event_bytes" => self.max_event_bytes = count()?,
            "max_chunk_events" => self.max_chunk_events = count()?,
            "max_chunk_bytes" => self.max_chunk_bytes = count()?,
            "check_json" => self.check_json = flag()?,
            "sleep_min_ms" => self.sleep_min = millis()?,
            "sleep_step_ms" => self.sleep_step = millis()?,
            "sleep_max_ms" => self.sleep_max = millis()?,
            "queue_max" => self.queue_max = count()?,
            "queue_max_bytes" => self.queue_max_bytes = count()?,
            "request_max" => self.request_max = count()?,
            "ack_interval_ms" => self.ack_interval = millis()?,
            "notify" => self.notify = flag()?,
            "pooler" => {
                self.pooler = spec.one_of(value, [Pooler::Session, Pooler::Transaction])?;
            }
            "strict_ids" => self.strict_ids = flag()?,
            "reregister" => self.reregister = flag()?,
            "archive_batch" => self.archive_batch = count()?,
            "limit_at_once" => self.limit_at_once = count()?,
            "poll_period_ms" => self.poll_period = millis()?,
            "require_archiver" => self.require_archiver = spec.flag_or_word(value)?,
            "expire_after_s" => self.expire_after = spec.number(value)?,
            "enable_archiver" => self.enable_archiver = flag()?,
            "enable_discarder" => self.enable_discarder = flag()?,
            "allow_reliable" => self.allow_reliable = flag()?,
            "allow_polling" => self.allow_polling = flag()?,
            "single_writer_node" => self.single_writer_node = flag()?,
            "create" => self.create = flag()?,
            "allow_foreign_sqlite" => self.allow_foreign_sqlite = flag()?,
            _ => fail!(Internal, "the option {name} is in the list, but nothing takes it"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptionValues;

    #[test]
    fn the_list_of_options_is_the_truth() {
        let mut settings = Settings::default();
        for spec in OPTIONS {
            settings.set(spec.name, spec.default).unwrap();
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn an_option_takes_what_the_list_says_and_nothing_else() {
        let mut settings = Settings::default();
        let mut check = |name, value: &str, good| {
            let result = settings.set(name, value);
            assert_eq!(result.is_ok(), good, "{name}={value}: {result:?}");
        };
        for spec in OPTIONS {
            let word = |text: &str| text.to_owned();
            let (good, bad) = match spec.values {
                OptionValues::Flag => {
                    (vec![word("true"), word("0")], vec![word("auto"), word("2")])
                }
                OptionValues::FlagOr(other) => (vec![word("1"), word(other)], vec![word("2")]),
                OptionValues::Number(low, high) => {
                    let below = if low == 0 { word("-1") } else { (low - 1).to_string() };
                    (vec![low.to_string(), high.to_string()], vec![below, (high + 1).to_string()])
                }
                OptionValues::ZeroOr(low, high) => (
                    vec![word("0"), low.to_string(), high.to_string()],
                    vec![word("1"), (low - 1).to_string(), (high + 1).to_string()],
                ),
                OptionValues::OneOf(words) => {
                    (words.iter().map(|text| word(text)).collect(), vec![word("other")])
                }
                OptionValues::Table => (vec![word("a.b_1")], vec![word("1a"), word("a.b.c")]),
            };
            good.iter().for_each(|value| check(spec.name, value, true));
            bad.iter().for_each(|value| check(spec.name, value, false));
            check(spec.name, "", false);
            check(spec.name, "x y", false);
        }
    }
}
