//! Connecting to MySQL and MariaDB.

use super::server::{Reached, Servers};
use super::session::{self, State};
use super::{Connection, Sql};
use crate::backend::reach::Reach;
use crate::config::Settings;
use crate::config::location::{Host, Server, TlsMode};
use crate::config::settings::SessionAttrs;
use crate::model::error::{Result, fail};
use crate::sync::line::Line;
use mysql::consts::CapabilityFlags;
use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, OptsBuilder};
use std::sync::Arc;
use std::time::Duration;

/// What connections to one database are made from.
pub(crate) struct Connector {
    pub reach: Arc<Reach>,
    dialer: Arc<Dialer>,
    pub(super) sql: Arc<Sql>,
    pub(super) single_writer_node: bool,
}

/// How to connect to a host.
struct Dialer {
    /// Without host and port.
    options: OptsBuilder,
    server: Server,
    reach: Arc<Reach>,
    sql: Arc<Sql>,
    servers: Arc<Servers>,
    single_writer_node: bool,
}

impl Connector {
    pub fn new(server: Server, settings: Arc<Settings>) -> Self {
        let sql = Arc::new(Sql::new(&settings, &server.database));
        let reach = Reach::new("MySQL", &server, &settings);
        let options = OptsBuilder::new()
            .socket(server.socket.as_ref().map(|path| path.to_string_lossy().into_owned()))
            .user(server.user.clone())
            .pass(server.password.as_ref().map(|password| password.reveal().to_owned()))
            .db_name(Some(server.database.clone()))
            // A socket only where one was named: tests and proxies use the port.
            .prefer_socket(server.socket.is_some())
            // Groups of events of any size have a statement each.
            .stmt_cache_size(Some(128))
            // UPDATE counts the rows it found, as on the other databases; answers tell of the
            // session's state.
            .additional_capabilities(
                CapabilityFlags::CLIENT_FOUND_ROWS | CapabilityFlags::CLIENT_SESSION_TRACK,
            )
            .init(session::SETTINGS.to_vec());
        let dialer = Arc::new(Dialer {
            options: keepalive(options, &settings),
            server,
            reach: reach.clone(),
            sql: sql.clone(),
            servers: Arc::default(),
            single_writer_node: settings.single_writer_node,
        });
        Connector { reach, dialer, sql, single_writer_node: settings.single_writer_node }
    }

    /// How often new connections have reached another server than those before.
    pub fn servers_reached(&self) -> u64 {
        self.dialer.servers.generation()
    }

    pub fn connect(&self) -> Result<Connection> {
        let dialer = self.dialer.clone();
        self.reach.connect(move |host, limit| dialer.dial(host, limit))
    }
}

impl Dialer {
    fn dial(&self, host: &Host, limit: Duration) -> Result<Connection> {
        let options = self
            .options
            .clone()
            .ip_or_hostname(Some(host.name.clone()))
            .tcp_port(host.port)
            .tcp_connect_timeout(Some(limit))
            // Until the connection is made.
            .read_timeout(cfg!(unix).then_some(limit))
            .write_timeout(cfg!(unix).then_some(limit));
        // What to use with a server without TLS, where TLS is only preferred.
        let plain = (self.server.tls.mode == TlsMode::Prefer).then(|| options.clone());
        let connected = match (Conn::new(tls(options, &self.server)), plain) {
            (Err(mysql::Error::DriverError(DriverError::TlsNotSupported)), Some(plain)) => {
                Conn::new(plain)
            }
            (result, _) => result,
        };
        let mut client = connected.map_err(|why| {
            let error = crate::model::error::Error::from(why);
            match &self.server.tls.ca {
                Some(ca) => error.context(format!("with the certificates of {ca:?}")),
                None => error,
            }
        })?;
        let state = State::of_new(&client);
        self.check_session(&mut client)?;
        let server = Reached::of(&mut client, &self.servers, self.single_writer_node)?;
        state.check_autocommit(&mut client)?;
        limit_calls(&client, self.reach.call_timeout())?;
        let line = self.reach.watched_line()?;
        show(&client, &line)?;
        let sql = self.sql.clone();
        Ok(Connection { client, server, sql, limits: None, state, life: None, line })
    }

    /// Refuses a server that is not what the URL asks for.
    fn check_session(&self, client: &mut Conn) -> Result<()> {
        if self.reach.session == SessionAttrs::Any {
            return Ok(());
        }
        let read_only: Option<i64> = client.query_first("SELECT @@GLOBAL.read_only")?;
        if read_only != Some(0) {
            fail!(ConnectFailed, "it is read-only, and target_session_attrs asks for another one");
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn keepalive(options: OptsBuilder, settings: &Settings) -> OptsBuilder {
    let keepalive = settings.keepalive;
    if keepalive.idle == 0 {
        return options;
    }
    let patience = keepalive.patience().as_millis();
    options
        .tcp_keepalive_time_ms(Some(keepalive.idle * 1000))
        .tcp_keepalive_probe_interval_secs(Some(keepalive.interval))
        .tcp_keepalive_probe_count(Some(keepalive.count))
        .tcp_user_timeout_ms(Some(u32::try_from(patience).unwrap_or(u32::MAX)))
}

#[cfg(not(target_os = "linux"))]
fn keepalive(options: OptsBuilder, settings: &Settings) -> OptsBuilder {
    let idle = settings.keepalive.idle;
    options.tcp_keepalive_time_ms((idle > 0).then_some(idle * 1000))
}

/// Gives each read and write of the socket the time of a call. While the connection is made the limit is
/// another one.
#[cfg(unix)]
pub(super) fn limit_calls(client: &Conn, limit: Option<Duration>) -> Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    use nix::sys::time::{TimeVal, TimeValLike};
    use std::os::fd::AsRawFd;
    // The driver has no other way to it than its descriptor. 0 is for ever.
    let time = limit.map_or(0, |limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
    let time = TimeVal::milliseconds(time);
    setsockopt(client.as_raw_fd(), sockopt::ReceiveTimeout, &time).map_err(io)?;
    setsockopt(client.as_raw_fd(), sockopt::SendTimeout, &time).map_err(io)?;
    Ok(())
}

/// Lets others shut the socket down.
#[cfg(unix)]
fn show(client: &Conn, line: &Line) -> Result<()> {
    use nix::sys::socket::{Shutdown, shutdown};
    use std::os::fd::AsRawFd;
    // A descriptor of its own: that of the driver may be closed, and be another file's, when it is used.
    let own = Descriptor(nix::unistd::dup(client.as_raw_fd()).map_err(io)?);
    line.shutdown_by(move || {
        let Descriptor(socket) = &own;
        let _ = shutdown(*socket, Shutdown::Both);
    });
    Ok(())
}

#[cfg(unix)]
fn io(why: nix::errno::Errno) -> mysql::Error {
    std::io::Error::from(why).into()
}

#[cfg(not(unix))]
pub(super) fn limit_calls(_: &Conn, _: Option<Duration>) -> Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn show(_: &Conn, _: &Line) -> Result<()> {
    Ok(())
}

/// A descriptor that is closed with it.
#[cfg(unix)]
struct Descriptor(std::os::fd::RawFd);

#[cfg(unix)]
impl Drop for Descriptor {
    fn drop(&mut self) {
        let _ = nix::unistd::close(self.0);
    }
}

#[cfg(feature = "tls")]
fn tls(options: OptsBuilder, server: &Server) -> OptsBuilder {
    // The driver takes the process's provider; without one it would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ssl = match server.tls.mode {
        TlsMode::Disable => return options,
        TlsMode::Prefer | TlsMode::Unverified => mysql::SslOpts::default()
            .with_danger_accept_invalid_certs(true)
            .with_danger_skip_domain_validation(true),
        TlsMode::VerifyCa => mysql::SslOpts::default().with_danger_skip_domain_validation(true),
        TlsMode::VerifyFull => mysql::SslOpts::default(),
    };
    options.ssl_opts(ssl.with_root_cert_path(server.tls.ca.clone()))
}

#[cfg(not(feature = "tls"))]
fn tls(options: OptsBuilder, server: &Server) -> OptsBuilder {
    debug_assert!(matches!(server.tls.mode, TlsMode::Disable | TlsMode::Prefer));
    options
}
