//! The service app: stream, archiver and discarder from one configuration.

use crate::config::Options;
use crate::history::{Archiver, Discarder, HistoryNotice, Warehouse};
use crate::model::error::{Result, fail};
use crate::stream::EventStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that a stream needs besides its generators and consumers, from one configuration:
/// the [`EventStream`], an [`Archiver`] if a warehouse is given, a [`Discarder`] if the option
/// `enable_discarder` is set (`DBServiceApp` of the npm package). Dropping it closes it.
///
/// ```
/// use futoin_eventstream::{Options, ServiceApp};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let options = Options::new().set("enable_discarder", "true")?;
/// let app = ServiceApp::open("sqlite::memory:", Some("sqlite::memory:"), &options)?;
/// app.migrate()?;
/// app.on_notice(|notice| println!("{notice:?}"));
/// app.start()?;
/// app.stream().add_event("USR_ADD", &"Ann")?;
/// app.close();
/// # Ok(()) }
/// ```
pub struct ServiceApp {
    stream: EventStream,
    warehouse: Option<Warehouse>,
    archiver: Option<Archiver>,
    discarder: Option<Discarder>,
}

impl ServiceApp {
    /// Opens the stream of `url`, and the warehouse if its URL is given, both with the same
    /// options (those in a URL win). Starts nothing.
    ///
    /// # Errors
    /// `InvalidUrl`, `InvalidOption`, `ConnectFailed`, `ForeignSqlite`.
    pub fn open(url: &str, warehouse: Option<&str>, options: &Options) -> Result<Self> {
        if warehouse.is_some_and(str::is_empty) {
            fail!(
                InvalidUrl,
                "the URL of the warehouse is an empty text: null says that there is no history"
            );
        }
        let stream = EventStream::open_with(url, options)?;
        let warehouse = warehouse.map(|url| Warehouse::open_with(url, options)).transpose()?;
        Self::of(stream, warehouse)
    }

    /// Opens the stream of the variables `DB_EVT_...`, and the warehouse of `DB_EVTDWH_...` if
    /// `DB_EVTDWH_TYPE` is set: see [`EventStream::from_env`] and [`Warehouse::from_env`].
    ///
    /// # Errors
    /// As [`open`](Self::open), naming the variable.
    pub fn from_env(options: &Options) -> Result<Self> {
        let stream = EventStream::from_env(options)?;
        let given = std::env::var_os("DB_EVTDWH_TYPE").is_some_and(|kind| !kind.is_empty());
        let warehouse = given.then(|| Warehouse::from_env(options)).transpose()?;
        Self::of(stream, warehouse)
    }

    /// From an open stream and warehouse; the options are those of the stream. Starts nothing.
    ///
    /// # Errors
    /// None for now.
    pub fn of(stream: EventStream, warehouse: Option<Warehouse>) -> Result<Self> {
        // They hold the options, and what stands in the URL.
        let settings = stream.reader().settings.clone();
        let archiver = match &warehouse {
            Some(warehouse) if settings.enable_archiver => {
                Some(Archiver::new(&stream, warehouse, &Options::new())?)
            }
            _ => None,
        };
        let discarder = settings
            .enable_discarder
            .then(|| Discarder::beside(&stream, &Options::new(), warehouse.is_some()))
            .transpose()?;
        Ok(ServiceApp { stream, warehouse, archiver, discarder })
    }

    /// The stream.
    pub fn stream(&self) -> &EventStream {
        &self.stream
    }

    /// The warehouse, if one was given.
    pub fn warehouse(&self) -> Option<&Warehouse> {
        self.warehouse.as_ref()
    }

    /// The archiver, if there is a warehouse and `enable_archiver` is not switched off.
    pub fn archiver(&self) -> Option<&Archiver> {
        self.archiver.as_ref()
    }

    /// The discarder, if `enable_discarder` is set.
    pub fn discarder(&self) -> Option<&Discarder> {
        self.discarder.as_ref()
    }

    /// Makes the tables of the stream and of the warehouse, or brings them up to date.
    ///
    /// # Errors
    /// As [`EventStream::migrate`] and [`Warehouse::migrate`].
    pub fn migrate(&self) -> Result<()> {
        self.stream.migrate()?;
        self.warehouse.as_ref().map_or(Ok(()), Warehouse::migrate)
    }

    /// Calls `call` for every notice of the archiver and the discarder, from their threads, in
    /// place of what was set before. It must not block for long.
    pub fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
        let call = Arc::new(call);
        if let Some(archiver) = &self.archiver {
            let call = call.clone();
            archiver.on_notice(move |notice| call(notice));
        }
        if let Some(discarder) = &self.discarder {
            discarder.on_notice(move |notice| call(notice));
        }
    }

    /// Starts the archiver and the discarder; does nothing to one that is started.
    ///
    /// # Errors
    /// `OutOfResources` if the system gives no thread. What happens later comes as a notice.
    pub fn start(&self) -> Result<()> {
        self.archiver.as_ref().map_or(Ok(()), Archiver::start)?;
        self.discarder.as_ref().map_or(Ok(()), Discarder::start)
    }

    /// Stops the discarder, then the archiver after the batch that it is at, then closes the
    /// stream with all its subscriptions, and the warehouse. May be called twice. A server that does not
    /// answer is waited for as long as `call_timeout_ms`; see [`close_for`](Self::close_for).
    pub fn close(&self) {
        self.close_for(Duration::MAX);
    }

    /// As [`close`](Self::close), but waits no longer than `time` (and 400 ms): then what hangs in a call
    /// on a server is cut off. Whether all has ended; if not, a notice is still at work.
    pub fn close_for(&self, time: Duration) -> bool {
        let start = Instant::now();
        // Both at once.
        self.archiver.as_ref().map(|archiver| archiver.runner.stop_within(Duration::ZERO));
        let left = || time.saturating_sub(start.elapsed());
        let discarder = self.discarder.as_ref().is_none_or(|discarder| discarder.stop_for(left()));
        let archiver = self.archiver.as_ref().is_none_or(|archiver| archiver.stop_for(left()));
        self.stream.close();
        if let Some(warehouse) = &self.warehouse {
            warehouse.close();
        }
        discarder && archiver
    }
}

impl Drop for ServiceApp {
    fn drop(&mut self) {
        self.close();
    }
}
