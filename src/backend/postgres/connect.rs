//! Connecting to PostgreSQL.

use super::dial::Dial;
use super::{Connection, Sql, session};
use crate::backend::reach::{Reach, addresses};
use crate::config::Settings;
use crate::config::location::{Host, Server, Tls, TlsMode};
use crate::config::settings::{Pooler, SessionAttrs};
use crate::model::error::{Result, fail};
use postgres::Client;
use postgres::config::{SslMode, SslNegotiation};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What connections to one database are made from.
pub(crate) struct Connector {
    pub reach: Arc<Reach>,
    dialer: Arc<Dialer>,
}

/// How to connect to a host.
struct Dialer {
    /// Without host and port.
    config: postgres::Config,
    server: Server,
    reach: Arc<Reach>,
    /// What makes the settings of a session.
    settings: Arc<str>,
    /// The statements, by the tables that a session has found.
    sql: Mutex<Arc<Sql>>,
    /// A pooler in transaction mode is between.
    pooled: bool,
}

impl Connector {
    pub fn new(server: Server, settings: Arc<Settings>) -> Result<Self> {
        let pooled = settings.pooler == Pooler::Transaction;
        if pooled && settings.notify {
            fail!(
                InvalidOption,
                "notify=true does not go with pooler=transaction: behind such a pooler nobody hears \
                 the server's notifications. Leave one of the two out"
            );
        }
        let reach = Reach::new("PostgreSQL", &server, &settings);
        let mut config = postgres::Config::new();
        config.dbname(&server.database).application_name("futoin-eventstream");
        let keepalive = settings.keepalive;
        if keepalive.idle > 0 {
            config
                .keepalives_idle(Duration::from_secs(keepalive.idle.into()))
                .keepalives_interval(Duration::from_secs(keepalive.interval.into()))
                .keepalives_retries(keepalive.count)
                .tcp_user_timeout(keepalive.patience());
        }
        match server.socket {
            // Both, TLS and the limit of time, are the business of `Dial`.
            None => config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct),
            // The driver leaves nothing to `Dial` there, and no server has TLS there.
            Some(_) => config.ssl_mode(match server.tls.mode {
                TlsMode::Disable | TlsMode::Prefer => SslMode::Disable,
                _ => SslMode::Require,
            }),
        };
        if let Some(user) = &server.user {
            config.user(user);
        }
        if let Some(password) = &server.password {
            config.password(password.reveal());
        }
        let extra = session_sql(&server, &settings).unwrap_or_default();
        let dialer = Arc::new(Dialer {
            config,
            server,
            reach: reach.clone(),
            settings: format!("{}{extra}", session::SETTINGS).into(),
            sql: Mutex::new(Arc::new(Sql::new(&settings))),
            pooled,
        });
        Ok(Connector { reach, dialer })
    }

    pub fn connect(&self) -> Result<Connection> {
        let dialer = self.dialer.clone();
        self.reach.connect(move |host, limit| dialer.dial(host, limit))
    }
}

/// Lets the server, too, find out soon that this host is gone: it holds locks for us.
fn session_sql(server: &Server, settings: &Settings) -> Option<String> {
    let keepalive = settings.keepalive;
    match (&server.socket, settings.call_timeout) {
        // The library cannot limit the time there; a server that lives can.
        (Some(_), Some(limit)) => Some(format!("; SET statement_timeout = {}", limit.as_millis())),
        (None, _) if keepalive.idle > 0 => Some(format!(
            "; SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; \
             SET tcp_keepalives_count = {}; SET tcp_user_timeout = {}",
            keepalive.idle,
            keepalive.interval,
            keepalive.count,
            keepalive.patience().as_millis()
        )),
        _ => None,
    }
}

impl Dialer {
    fn dial(&self, host: &Host, limit: Duration) -> Result<Connection> {
        let mut config = self.config.clone();
        config.port(host.port);
        if let Some(path) = &self.server.socket {
            // The driver wants the directory.
            match path.is_dir() {
                true => config.host_path(path),
                false => config.host_path(path.parent().unwrap_or(path)),
            };
            return self.greet(config.connect_timeout(limit), limit);
        }
        let end = Instant::now() + limit;
        let found = addresses(host)?;
        let mut last = None;
        for (index, address) in found.iter().enumerate() {
            let rest = end.saturating_duration_since(Instant::now());
            let share = rest / (found.len() - index) as u32;
            let mut config = config.clone();
            config.host(&host.name).hostaddr(address.ip()).connect_timeout(share);
            match self.greet(&config, share) {
                Err(error) if error.is_lost() => last = Some(error),
                result => return result,
            }
        }
        match last {
            Some(error) => Err(error),
            None => fail!(ConnectFailed, "the name has no address"),
        }
    }

    /// Connects to one address, and sets the session up.
    fn greet(&self, config: &postgres::Config, limit: Duration) -> Result<Connection> {
        let line = self.reach.line();
        let call = line.call_within(Some(limit))?;
        let tls = &self.server.tls;
        let wanted = cfg!(feature = "tls") && tls.mode != TlsMode::Disable;
        let mut client = config.connect(Dial {
            tls: wanted.then(|| make_tls(tls)).transpose()?,
            required: tls.mode != TlsMode::Prefer,
            line: line.clone(),
        })?;
        let mark = if self.pooled { String::new() } else { session::new_mark() };
        let sql = session::begin(&mut client, &self.settings, &self.sql, &mark)?;
        self.check_session(&mut client)?;
        drop(call);
        Ok(Connection {
            client,
            sql,
            prepared: HashMap::new(),
            target: None,
            discards: false,
            life: None,
            in_transaction: false,
            checked: None,
            settings: self.settings.clone(),
            line,
            pooled: self.pooled,
            mark,
        })
    }

    /// Refuses a server that is not what the URL asks for.
    fn check_session(&self, client: &mut Client) -> Result<()> {
        if self.reach.session == SessionAttrs::Any {
            return Ok(());
        }
        let sql = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
        let row = client.query_typed_one(sql, &[])?;
        let (standby, read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        if standby {
            fail!(ConnectFailed, "it is a standby, and target_session_attrs asks for another one");
        }
        if read_only && self.reach.session == SessionAttrs::ReadWrite {
            fail!(ConnectFailed, "it is read-only, and target_session_attrs is read-write");
        }
        Ok(())
    }
}

#[cfg(feature = "tls")]
fn make_tls(tls: &Tls) -> Result<tokio_postgres_rustls::MakeRustlsConnect> {
    let config = crate::backend::tls::client_config(tls)?;
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

#[cfg(not(feature = "tls"))]
fn make_tls(_: &Tls) -> Result<postgres::NoTls> {
    Ok(postgres::NoTls)
}
