//! The doctor: looks at a database, its settings and the rights of a role, before something is lost.

mod stream;

pub use crate::model::check::{Check, CheckStatus};

use crate::backend::doctor::{Checks, ROLES};
use crate::history::Warehouse;
use crate::model::check::failure;
use crate::model::error::{Error, ErrorKind, Result};
use crate::stream::EventStream;

/// The scope of [`EventStream::doctor`].
///
/// ```
/// use futoin_eventstream::DoctorOptions;
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let options = DoctorOptions::new().role("consumer")?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoctorOptions {
    roles: Vec<String>,
}

impl DoctorOptions {
    /// All roles; none of them must have its rights.
    pub fn new() -> Self {
        Self::default()
    }

    /// The database user must have the rights of this role of docs/grants.md: `generator`, `consumer`, `archiver` or
    /// `discarder`. Without it a missing right is a failure; the roles that were not named are not looked at.
    ///
    /// # Errors
    /// `InvalidArgument` for another name.
    pub fn role(mut self, name: &str) -> Result<Self> {
        if !ROLES.iter().any(|(role, _)| *role == name) {
            let names: Vec<&str> = ROLES.iter().map(|(role, _)| *role).collect();
            let message = format!("there is no role {name:?}: the roles are {}", names.join(", "));
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.roles.push(name.to_owned());
        Ok(self)
    }

    /// Whether a role is looked at, and whether it must have its rights.
    fn wants(&self, name: &str) -> (bool, bool) {
        let named = self.roles.iter().any(|role| role == name);
        (named || self.roles.is_empty(), named)
    }
}

impl Check {
    /// The report on a database that cannot be opened: the failed check `reachable`.
    pub fn unreachable(error: &Error) -> Check {
        let mut checks = Checks::default();
        let seen = format!("{error} ({})", error.kind().name());
        checks.add("reachable", failure(seen, "what the error says"));
        checks.0.remove(0)
    }
}

impl EventStream {
    /// Looks at everything that this library needs of its database, and of the rights of this database user: the
    /// server and its settings, the tables, order without loss, privileges, what holds the stream up, consumers, the
    /// clock, and (with a warehouse) the history. Each [`Check`] says what was seen, why it matters and what mends it.
    ///
    /// It makes connections of its own, changes nothing in the database, and works also where reliable polling is
    /// refused. What the user may not see is `Unknown`, with the right that is missing. May be called from any thread;
    /// takes about a second.
    ///
    /// ```
    /// use futoin_eventstream::{CheckStatus, DoctorOptions, EventStream};
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// for check in stream.doctor(None, &DoctorOptions::new())? {
    ///     assert_eq!(check.status, CheckStatus::Ok, "{check:?}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Closed`. A database that cannot be reached is the failed check `reachable`.
    pub fn doctor(
        &self,
        warehouse: Option<&Warehouse>,
        options: &DoctorOptions,
    ) -> Result<Vec<Check>> {
        stream::examine(self, warehouse, options)
    }
}
