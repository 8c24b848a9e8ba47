//! The arguments of the command.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use futoin_eventstream::{EventId, MAX_EVENT_ID, Timestamp};
use std::path::PathBuf;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const AFTER: &str = "\
Databases:
  Without --db and --db-file the environment counts: DB_EVT_TYPE (sqlite, postgresql or mysql),
  DB_EVT_HOST, _PORT, _SOCKET, _USER, _PASS, _DB and _MAXCONN; for the warehouse DB_EVTDWH_...
  Other users of the machine see the arguments of a command: give a password by the environment
  or by a file, not by --db.

Exit codes:
  0    done; also when `run` or `--follow` was ended by a signal
  1    an error that does not go away by trying again
  2    wrong arguments
  3    an error that may go away: server away, database busy, another receiver at work
  4    `verify` or `doctor` found something wrong
  130  interrupted by SIGINT (Ctrl-C) or SIGTERM";

/// Adds events to a database, reads them, and takes care of them.
#[derive(Parser)]
#[command(name = "fes", version, after_help = AFTER, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Clone)]
pub struct Global {
    /// The database of the stream: sqlite:FILE, postgres://USER:PASSWORD@HOST:PORT/DB or mysql://...
    #[arg(long, global = true, value_name = "URL", conflicts_with = "db_file")]
    pub db: Option<String>,
    /// A file with that URL in its first line that is not empty
    #[arg(long, global = true, value_name = "PATH")]
    pub db_file: Option<PathBuf>,
    /// The database of the history (the warehouse)
    #[arg(long, global = true, value_name = "URL", conflicts_with = "dwh_file")]
    pub dwh: Option<String>,
    /// A file with that URL in its first line that is not empty
    #[arg(long, global = true, value_name = "PATH")]
    pub dwh_file: Option<PathBuf>,
    /// An option of the library, such as event_table=app.events (repeatable)
    #[arg(short, long = "option", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub options: Vec<(String, String)>,
    /// Write one JSON document, or JSON Lines, for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Whether a SQLite file that does not exist is made, where no option says it.
    #[arg(skip)]
    pub create: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make the tables, of the warehouse too if there is one, or bring them up to date
    Migrate,
    /// Add one event, or many from standard input
    Add(Add),
    /// Read the next events once
    Poll(Poll),
    /// Follow the stream until Ctrl-C
    Tail(Tail),
    /// Register a reliable consumer
    Register(Register),
    /// Remove a consumer and its cursor
    Unregister(Consumer),
    /// Show the next event of a consumer that cannot be read, or pass over it
    Skip(Skip),
    /// List the registered consumers
    Consumers,
    /// Show how far the consumers are behind, and what holds the stream up
    Lag(Lag),
    /// Write how the stream is as Prometheus text
    Metrics,
    /// Copy what is new to the history, once
    Archive(Follow),
    /// Delete what every consumer has acknowledged, once
    Discard(Follow),
    /// Read the history
    History(History),
    /// Write the history, the events of the stream, or both as JSON Lines
    Export(Export),
    /// Account for every id: in the stream, in the history, discarded, rolled back, or wrong
    Verify(Verify),
    /// Look at the database, its settings and the rights of this user, before something is lost
    Doctor(Doctor),
    /// Run archiver and discarder until SIGINT or SIGTERM
    Run(Run),
    /// Write the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual page
    Man {
        /// Write this page and one of each command into a folder instead
        #[arg(long, value_name = "PATH")]
        dir: Option<PathBuf>,
    },
}

#[derive(Args)]
pub struct Add {
    /// The type: 1 to 16 upper case letters or underscores
    #[arg(value_name = "TYPE", required_unless_present = "jsonl", conflicts_with = "jsonl")]
    pub event_type: Option<String>,
    /// The data as JSON, or - to read it from standard input [default: null]
    #[arg(conflicts_with = "jsonl", allow_negative_numbers = true)]
    pub json_data: Option<String>,
    /// Add one event for each line of standard input: {"type": "...", "data": ...}
    #[arg(long)]
    pub jsonl: bool,
    /// Most events of one transaction
    #[arg(long, requires = "jsonl", value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
    /// Begin with this line: goes on after an error
    #[arg(long, requires = "jsonl", value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub from_line: u64,
}

#[derive(Args)]
pub struct Consumer {
    /// The user of the consumer
    #[arg(long)]
    pub user: String,
    /// Its name within the user
    #[arg(long)]
    pub component: String,
}

#[derive(Args)]
pub struct Skip {
    #[command(flatten)]
    pub consumer: Consumer,
    /// Pass over this event; without it, only show what cannot be read
    #[arg(value_name = "ID", value_parser = id(1))]
    pub id: Option<EventId>,
    /// Also if it can be read; it must be the next one all the same
    #[arg(long, requires = "id")]
    pub force: bool,
}

/// The reader: a reliable consumer, or LIVE.
#[derive(Args)]
pub struct Reader {
    /// The user of the consumer
    #[arg(long, requires = "component")]
    pub user: Option<String>,
    /// Its name within the user; without it nothing is registered or acknowledged (LIVE)
    #[arg(long, requires = "user")]
    pub component: Option<String>,
    /// Only events of these types
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    pub want: Vec<String>,
}

#[derive(Args)]
pub struct Poll {
    #[command(flatten)]
    pub reader: Reader,
    /// Read after this id; of a reliable consumer it acknowledges all up to it [default: after
    /// the cursor; LIVE: 0]
    #[arg(long, value_name = "ID", value_parser = id(0))]
    pub last_id: Option<EventId>,
    /// Most events to read
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Acknowledge them once they are written
    #[arg(long, requires = "component")]
    pub ack: bool,
}

#[derive(Args)]
pub struct Tail {
    #[command(flatten)]
    pub reader: Reader,
    /// Register the consumer first, if it is not
    #[arg(long, requires = "component")]
    pub register: bool,
    /// End after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

#[derive(Args)]
pub struct Register {
    #[command(flatten)]
    pub consumer: Consumer,
    /// Where it begins: beginning, now, an event id, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHERE", default_value = "beginning", value_parser = start)]
    pub at: Start,
}

#[derive(Clone, Copy)]
pub enum Start {
    Beginning,
    Now,
    Id(EventId),
    Time(Timestamp),
}

#[derive(Args)]
pub struct Lag {
    /// Show it again and again until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks
    #[arg(long, requires = "watch", value_name = "S", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub interval: u64,
}

#[derive(Args)]
pub struct Follow {
    /// Go on with what comes later, until SIGINT or SIGTERM
    #[arg(long)]
    pub follow: bool,
    /// Begin each line with the time
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Stamps::Auto)]
    pub timestamps: Stamps,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stamps {
    /// Unless the journal of systemd reads it, which notes the time itself
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Args)]
pub struct History {
    /// The first id
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = id(0))]
    pub from: EventId,
    /// Only events of these types
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    pub want: Vec<String>,
    /// Most events to read
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
}

#[derive(Args)]
pub struct Export {
    /// The first id
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = id(0))]
    pub from: EventId,
    /// Only events of these types
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    pub want: Vec<String>,
    /// What to write [default: all if there is a warehouse, else active]
    #[arg(long, value_enum)]
    pub source: Option<Source>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The history, then what is only in the stream
    All,
    /// The history only
    History,
    /// The events of the stream only
    Active,
}

#[derive(Args)]
pub struct Verify {
    /// The first id
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = id(1))]
    pub from: EventId,
    /// The last id [default: the highest that was allocated]
    #[arg(long, value_name = "ID", value_parser = id(1))]
    pub to: Option<EventId>,
    /// How many ids of each finding to name
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub examples: u32,
}

#[derive(Args)]
pub struct Doctor {
    /// The user must have the rights of this role: generator, consumer, archiver or discarder (repeatable)
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<String>,
    /// Warnings end it with code 4, too
    #[arg(long)]
    pub strict: bool,
}

#[derive(Args)]
pub struct Run {
    /// Discard, too: the same as --option enable_discarder=true
    #[arg(long)]
    pub discard: bool,
    /// Make the tables first, or bring them up to date
    #[arg(long)]
    pub migrate: bool,
    /// Begin each line with the time
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Stamps::Auto)]
    pub timestamps: Stamps,
}

fn id(lowest: u64) -> clap::builder::RangedU64ValueParser<EventId> {
    clap::builder::RangedU64ValueParser::new().range(lowest..=MAX_EVENT_ID)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "beginning" => return Ok(Start::Beginning),
        "now" => return Ok(Start::Now),
        _ => {}
    }
    if let Ok(id) = text.parse() {
        return Ok(Start::Id(id));
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|at| Timestamp::from_unix(at.unix_timestamp()))
        .map(Start::Time)
        .ok_or_else(|| "not beginning, now, an id, or a time as 2026-01-31T12:00:00Z".to_owned())
}
