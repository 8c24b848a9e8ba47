//! Where a database is, and how it is reached.

use std::fmt;
use std::path::PathBuf;

/// A database: what to connect to and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Sqlite(SqliteFile),
    Postgres(Server),
    Mysql(Server),
}

impl Location {
    /// A name of the database, the same for all who mean the same one in the same way; `None` for
    /// a private one.
    pub fn name(&self) -> Option<String> {
        match self {
            Location::Sqlite(SqliteFile::Memory) => None,
            Location::Sqlite(SqliteFile::Path(path)) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                Some(format!("sqlite:{}", path.display()))
            }
            Location::Postgres(server) => Some(format!("postgres:{}", server.name())),
            Location::Mysql(server) => Some(format!("mysql:{}", server.name())),
        }
    }
}

impl Server {
    fn name(&self) -> String {
        match &self.socket {
            Some(path) => format!("{}/{}", path.display(), self.database),
            None => {
                let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
                format!("{}/{}", hosts.join(","), self.database)
            }
        }
    }
}

/// A SQLite database: a file, or a private one in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SqliteFile {
    Path(PathBuf),
    Memory,
}

/// A database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// In the order in which they are tried; at least one.
    pub hosts: Vec<Host>,
    /// Unix socket: the file (MySQL) or its directory (PostgreSQL).
    pub socket: Option<PathBuf>,
    pub user: Option<String>,
    pub password: Option<Password>,
    pub database: String,
    pub tls: Tls,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name or an address; one of IPv6 without its brackets.
    pub name: String,
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// A password: shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub fn new(text: String) -> Self {
        Password(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a connection is encrypted and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub mode: TlsMode,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    /// Encrypt if the server can, without looking at its certificate (PostgreSQL's default).
    Prefer,
    /// Encrypt, without looking at the certificate: only when asked for by `ssl-insecure=true`.
    Unverified,
    /// The certificate must come from a trusted authority.
    VerifyCa,
    /// And it must be for this host name.
    VerifyFull,
}
