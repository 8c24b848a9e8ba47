//! Where the database is: a URL, or the `DB_EVT_*` variables of the environment.

use crate::config::location::{Host, Location, Password, Server, SqliteFile, Tls, TlsMode};
use crate::config::{Options, Settings};
use crate::model::error::{Error, ErrorKind, Result, fail};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

const FORMS: &str = "the forms are sqlite:file.db, sqlite:///absolute/file.db, sqlite::memory:, \
                     postgres://user:password@host:port/database and \
                     mysql://user:password@host:port/database, also with several hosts, as in \
                     host:port,host:port";

/// Reads a URL; its query may hold TLS settings, `socket`, and any option.
pub(crate) fn parse(url: &str, options: &Options) -> Result<(Location, Settings)> {
    let mut settings = options.settings().clone();
    if let Some(rest) = url.strip_prefix("sqlite:") {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            settings.set(&key, &value)?;
        }
        return Ok((Location::Sqlite(sqlite_file(path)?), settings));
    }
    let (url, others) = split_hosts(url);
    let parsed = parse_url(&url)?;
    let (default_port, mysql) = match parsed.scheme() {
        "postgres" | "postgresql" => (5432, false),
        "mysql" | "mariadb" => (3306, true),
        other => fail!(InvalidUrl, "unknown database kind {other:?}; {FORMS}"),
    };
    let mut server = Server {
        hosts: hosts(&parsed, &others, default_port)?,
        socket: None,
        user: Some(decode(parsed.username())?).filter(|user| !user.is_empty()),
        password: parsed.password().map(decode).transpose()?.map(Password::new),
        database: decode(parsed.path().trim_start_matches('/'))?,
        tls: Tls { mode: if mysql { TlsMode::Disable } else { TlsMode::Prefer }, ca: None },
    };
    if !mysql {
        libpq_defaults(&mut server, |name| std::env::var(name).ok())?;
    }
    apply_query(&parsed, &mut server, &mut settings)?;
    check(&mut server)?;
    Ok((if mysql { Location::Mysql(server) } else { Location::Postgres(server) }, settings))
}

fn parse_url(url: &str) -> Result<url::Url> {
    // The parser's message does not repeat the URL, which may hold a password.
    url::Url::parse(url).map_err(|why| {
        let why = match why {
            url::ParseError::RelativeUrlWithoutBase => {
                "it begins with no kind of database".to_owned()
            }
            why => why.to_string(),
        };
        Error::new(ErrorKind::InvalidUrl, format!("not a database URL ({why}); {FORMS}"))
    })
}

/// A URL of the first host only, which the parser understands, and the other hosts with their ports.
fn split_hosts(url: &str) -> (String, Vec<String>) {
    let whole = || (url.to_owned(), Vec::new());
    let Some(start) = url.find("://").map(|index| index + 3) else { return whole() };
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |index| start + index);
    // A password may hold a comma: hosts come after the last `@`.
    let hosts = url[start..end].rfind('@').map_or(start, |index| start + index + 1);
    let Some((first, others)) = url[hosts..end].split_once(',') else { return whole() };
    let others = others.split(',').map(str::to_owned).collect();
    (format!("{}{first}{}", &url[..hosts], &url[end..]), others)
}

fn hosts(parsed: &url::Url, others: &[String], default_port: u16) -> Result<Vec<Host>> {
    let host = |url: &url::Url| -> Result<Host> {
        let name = unbracketed(&decode(url.host_str().unwrap_or_default())?);
        Ok(Host { name, port: url.port().unwrap_or(default_port) })
    };
    let mut hosts = vec![host(parsed)?];
    for other in others {
        if other.is_empty() {
            fail!(InvalidUrl, "one of the hosts in the database URL is empty; {FORMS}");
        }
        hosts.push(host(&parse_url(&format!("{}://{other}", parsed.scheme()))?)?);
    }
    Ok(hosts)
}

fn unbracketed(name: &str) -> String {
    name.trim_matches(['[', ']']).to_owned()
}

fn apply_query(parsed: &url::Url, server: &mut Server, settings: &mut Settings) -> Result<()> {
    let mut insecure = false;
    for (key, value) in parsed.query_pairs() {
        match &*key {
            "sslmode" | "ssl-mode" => server.tls.mode = tls_mode(&value)?,
            "sslrootcert" | "ssl-ca" => server.tls.ca = Some(PathBuf::from(&*value)),
            "ssl-insecure" if value == "true" => insecure = true,
            "ssl-insecure" if value == "false" => insecure = false,
            "socket" => server.socket = Some(PathBuf::from(&*value)),
            "sslcert" | "sslkey" | "ssl-cert" | "ssl-key" => fail!(
                InvalidUrl,
                "{key}: client certificates are not supported. Give the user a password, and verify \
                 the server by sslmode=verify-full (MySQL: ssl-mode=VERIFY_IDENTITY)"
            ),
            "host" => {
                let port = server.hosts.first().map_or(0, |host| host.port);
                let named = |name: &str| Host { name: unbracketed(name), port };
                server.hosts = value.split(',').map(named).collect();
            }
            key if Settings::knows(key) => settings.set(key, &value)?,
            key => fail!(
                InvalidUrl,
                "unknown parameter {key:?} in a database URL; there are sslmode, sslrootcert, \
                 ssl-mode, ssl-ca, ssl-insecure, socket, host and the options"
            ),
        }
    }
    if insecure && matches!(server.tls.mode, TlsMode::VerifyCa | TlsMode::VerifyFull) {
        server.tls.mode = TlsMode::Unverified;
    }
    Ok(())
}

/// What libpq takes from the environment where the URL says nothing: the password and the TLS mode.
fn libpq_defaults(server: &mut Server, get: impl Fn(&str) -> Option<String>) -> Result<()> {
    let get = |name: &str| get(name).filter(|value| !value.is_empty());
    if server.password.is_none() {
        server.password = get("PGPASSWORD").map(Password::new);
    }
    if let Some(mode) = get("PGSSLMODE") {
        server.tls.mode = tls_mode(&mode).map_err(|error| error.context("variable PGSSLMODE"))?;
    }
    server.tls.ca = get("PGSSLROOTCERT").map(PathBuf::from);
    if !matches!(server.tls.mode, TlsMode::VerifyCa | TlsMode::VerifyFull) {
        // It belongs to a mode that the URL may still name.
        server.tls.ca = None;
    }
    Ok(())
}

/// The modes of libpq and of MySQL. Whoever requires TLS gets it verified.
fn tls_mode(value: &str) -> Result<TlsMode> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Ok(TlsMode::Disable),
        "prefer" | "preferred" | "allow" => Ok(TlsMode::Prefer),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "require" | "required" | "verify-full" | "verify-identity" => Ok(TlsMode::VerifyFull),
        other => fail!(
            InvalidUrl,
            "unknown TLS mode {other:?}; there are disable, prefer, require, verify-ca and \
             verify-full (MySQL: DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY)"
        ),
    }
}

fn check(server: &mut Server) -> Result<()> {
    if let Some(path) = server.hosts.iter().find(|host| host.name.starts_with('/'))
        && server.socket.is_none()
    {
        if server.hosts.len() > 1 {
            fail!(InvalidUrl, "a Unix socket is no one of several hosts; {FORMS}");
        }
        server.socket = Some(PathBuf::from(&path.name));
    }
    if server.hosts.iter().any(|host| host.name.is_empty()) && server.socket.is_none() {
        fail!(InvalidUrl, "the database URL names no host and no socket; {FORMS}");
    }
    if server.database.is_empty() || server.database.contains('/') {
        fail!(InvalidUrl, "the database URL names no single database; {FORMS}");
    }
    let verified = matches!(server.tls.mode, TlsMode::VerifyCa | TlsMode::VerifyFull);
    if server.tls.ca.is_some() && !verified {
        fail!(
            InvalidUrl,
            "a certificate authority is given, but the TLS mode does not verify: use \
             sslmode=verify-full (MySQL: ssl-mode=VERIFY_IDENTITY)"
        );
    }
    if !cfg!(feature = "tls") && !matches!(server.tls.mode, TlsMode::Disable | TlsMode::Prefer) {
        fail!(InvalidUrl, "this build has no TLS: enable the crate feature `tls`");
    }
    Ok(())
}

fn sqlite_file(path: &str) -> Result<SqliteFile> {
    let path = decode(path.strip_prefix("//").unwrap_or(path))?;
    match path.as_str() {
        ":memory:" => Ok(SqliteFile::Memory),
        "" => fail!(InvalidUrl, "the database URL names no file; {FORMS}"),
        text if text.contains('\0') => fail!(InvalidUrl, "the file name holds a NUL byte"),
        _ => Ok(SqliteFile::Path(PathBuf::from(path))),
    }
}

fn decode(text: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => fail!(InvalidUrl, "a part of the database URL is not UTF-8 when decoded"),
    }
}

/// Reads `<prefix>_TYPE`, `_HOST`, `_PORT`, `_SOCKET`, `_USER`, `_PASS`, `_DB` and `_MAXCONN`
/// with `get`, as the npm package `futoin-database` does.
pub(crate) fn from_env(
    prefix: &str,
    options: &Options,
    get: impl Fn(&str) -> Option<String>,
) -> Result<(Location, Settings)> {
    let mut settings = options.settings().clone();
    let var = |name: &str| get(&format!("{prefix}_{name}")).filter(|value| !value.is_empty());
    if let Some(count) = var("MAXCONN") {
        settings
            .set("max_connections", &count)
            .map_err(|error| error.context(format!("variable {prefix}_MAXCONN")))?;
    }
    let required = |name: &str| {
        var(name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidUrl, format!("variable {prefix}_{name} is not set"))
        })
    };
    let kind = required("TYPE")?;
    if kind == "sqlite" {
        // The npm package takes the file from SOCKET.
        let file = var("SOCKET").map_or_else(|| required("DB"), Ok)?;
        return Ok((Location::Sqlite(sqlite_file(&file)?), settings));
    }
    let database = required("DB")?;
    let (default_port, mysql) = match kind.as_str() {
        "postgresql" | "postgres" => (5432, false),
        "mysql" | "mariadb" => (3306, true),
        other => fail!(
            InvalidUrl,
            "variable {prefix}_TYPE is {other:?}, not sqlite, postgresql or mysql"
        ),
    };
    let port = match var("PORT") {
        None => default_port,
        Some(text) => text.parse().map_err(|_| {
            Error::new(
                ErrorKind::InvalidUrl,
                format!("variable {prefix}_PORT is {text:?}, not a port number"),
            )
        })?,
    };
    let names = var("HOST").unwrap_or_else(|| "localhost".into());
    let mut server = Server {
        hosts: names.split(',').map(|name| Host { name: unbracketed(name), port }).collect(),
        socket: var("SOCKET").map(PathBuf::from),
        user: var("USER"),
        password: var("PASS").map(Password::new),
        database,
        tls: Tls {
            mode: match var("SSLMODE") {
                Some(mode) => tls_mode(&mode)
                    .map_err(|error| error.context(format!("variable {prefix}_SSLMODE")))?,
                None if mysql => TlsMode::Disable,
                None => TlsMode::Prefer,
            },
            ca: var("SSLROOTCERT").map(PathBuf::from),
        },
    };
    check(&mut server)?;
    Ok((if mysql { Location::Mysql(server) } else { Location::Postgres(server) }, settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn location(url: &str) -> Location {
        parse(url, &Options::new()).unwrap().0
    }

    #[test]
    fn sqlite_urls_name_a_file() {
        let path = |text: &str| Location::Sqlite(SqliteFile::Path(text.into()));
        assert_eq!(location("sqlite:a.db"), path("a.db"));
        assert_eq!(location("sqlite://a.db"), path("a.db"));
        assert_eq!(location("sqlite:///tmp/a%20b.db"), path("/tmp/a b.db"));
        assert_eq!(location("sqlite::memory:"), Location::Sqlite(SqliteFile::Memory));
    }

    #[test]
    fn server_urls_are_decoded_and_their_password_is_not_shown() {
        let url = "mysql://jo%40x:p%3Aw@[::1]:3307/my%2Ddb?ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca.pem";
        let Location::Mysql(server) = location(url) else { panic!() };
        assert_eq!(server.user.as_deref(), Some("jo@x"));
        assert_eq!(server.password.as_ref().unwrap().reveal(), "p:w");
        assert_eq!(server.hosts[0].to_string(), "[::1]:3307");
        assert_eq!(server.database, "my-db");
        assert_eq!(server.tls.mode, TlsMode::VerifyFull);
        assert!(!format!("{server:?}").contains("p:w"));
    }

    #[test]
    fn several_hosts_are_read_in_order() {
        let hosts = |url: &str| match location(url) {
            Location::Postgres(server) | Location::Mysql(server) => {
                let hosts: Vec<String> = server.hosts.iter().map(Host::to_string).collect();
                (hosts.join(" "), server.password.map(|password| password.reveal().to_owned()))
            }
            Location::Sqlite(_) => panic!(),
        };
        let (some, none) = (|text: &str| Some(text.to_owned()), None::<String>);
        let url = "postgres://u:a,b%40c@h1:5433,[::1],10.0.0.1:1/d?call_timeout_ms=1";
        assert_eq!(hosts(url), ("h1:5433 [::1]:5432 10.0.0.1:1".to_owned(), some("a,b@c")));
        assert_eq!(
            hosts("mysql://[fe80::1]:9,b/d"),
            ("[fe80::1]:9 b:3306".to_owned(), none.clone())
        );
        assert_eq!(hosts("mysql://x/d?host=a,b"), ("a:3306 b:3306".to_owned(), none));
        for url in ["postgres://u:geheim@a,/d", "postgres://u:geheim@,b/d", "mysql://a,b:x/d"] {
            let error = parse(url, &Options::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{url}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }

    #[test]
    fn requiring_tls_means_verifying_it() {
        let mode = |query: &str| match location(&format!("postgres://h/d?{query}")) {
            Location::Postgres(server) => server.tls.mode,
            _ => panic!(),
        };
        assert_eq!(mode("sslmode=require"), TlsMode::VerifyFull);
        assert_eq!(mode("sslmode=require&ssl-insecure=true"), TlsMode::Unverified);
        assert_eq!(mode("sslmode=verify-ca"), TlsMode::VerifyCa);
        assert_eq!(mode("sslmode=disable"), TlsMode::Disable);
    }

    #[test]
    fn options_may_stand_in_the_url() {
        let (_, settings) = parse("sqlite:a.db?event_table=my_events", &Options::new()).unwrap();
        assert_eq!(settings.event_table.name, "my_events");
    }

    #[test]
    fn nonsense_is_refused_without_the_password() {
        for url in [
            "",
            "a.db",
            "sqlite:",
            "sqlite:a.db?x=1",
            "http://u:geheim@h/d",
            "postgres://u:geheim@h",
            "postgres://u:geheim@h/a/b",
            "postgres://u:geheim@h:99999/d",
            "postgres://u:geheim@h/d?sslmode=maybe",
            "postgres://u:geheim@h/d?sslrootcert=/x",
            "mysql://u:geheim@h/d?event_table=a;b",
        ] {
            let error = parse(url, &Options::new()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidUrl | ErrorKind::InvalidOption));
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }

    #[test]
    fn the_environment_of_the_npm_package_is_understood() {
        let get = |name: &str| match name {
            "DB_EVT_TYPE" => Some("postgresql".to_owned()),
            "DB_EVT_HOST" => Some("h".to_owned()),
            "DB_EVT_PASS" => Some("geheim".to_owned()),
            "DB_EVT_DB" => Some("d".to_owned()),
            "DB_EVT_MAXCONN" => Some("3".to_owned()),
            _ => None,
        };
        let (location, settings) = from_env("DB_EVT", &Options::new(), get).unwrap();
        let Location::Postgres(server) = location else { panic!() };
        assert_eq!(
            (server.hosts[0].to_string().as_str(), server.database.as_str()),
            ("h:5432", "d")
        );
        assert_eq!(settings.max_connections, 3);
        let error = from_env("DB_EVT", &Options::new(), |_| None).unwrap_err();
        assert!(error.to_string().contains("DB_EVT_TYPE"));
    }

    #[test]
    fn tls_is_asked_for_by_the_environment_too() {
        let get = |kind: &'static str, mode: &'static str| {
            move |name: &str| match name {
                "DB_EVT_TYPE" => Some(kind.to_owned()),
                "DB_EVT_DB" => Some("d".to_owned()),
                "DB_EVT_SSLMODE" => Some(mode.to_owned()),
                "DB_EVT_SSLROOTCERT" if mode == "VERIFY_CA" => Some("/ca.pem".to_owned()),
                _ => None,
            }
        };
        let parsed = |kind, mode| from_env("DB_EVT", &Options::new(), get(kind, mode));
        let Ok((Location::Mysql(server), _)) = parsed("mysql", "VERIFY_CA") else { panic!() };
        assert_eq!(server.tls.mode, TlsMode::VerifyCa);
        assert_eq!(server.tls.ca, Some("/ca.pem".into()));
        let Ok((Location::Postgres(server), _)) = parsed("postgresql", "require") else { panic!() };
        assert_eq!(server.tls.mode, TlsMode::VerifyFull);
        let error = parsed("mysql", "maybe").unwrap_err();
        assert!(error.to_string().contains("DB_EVT_SSLMODE"), "{error}");
    }

    #[test]
    fn what_libpq_takes_from_the_environment_counts_where_the_url_says_nothing() {
        let Location::Postgres(mut server) = location("postgres://h/d") else { panic!() };
        let get = |name: &str| match name {
            "PGPASSWORD" => Some("geheim".to_owned()),
            "PGSSLMODE" => Some("verify-ca".to_owned()),
            "PGSSLROOTCERT" => Some("/ca.pem".to_owned()),
            _ => None,
        };
        libpq_defaults(&mut server, get).unwrap();
        assert_eq!(server.password.as_ref().unwrap().reveal(), "geheim");
        assert_eq!((server.tls.mode, server.tls.ca), (TlsMode::VerifyCa, Some("/ca.pem".into())));
        let Location::Postgres(mut server) = location("postgres://u:own@h/d") else { panic!() };
        libpq_defaults(&mut server, get).unwrap();
        assert_eq!(server.password.as_ref().unwrap().reveal(), "own");
    }

    #[test]
    fn a_client_certificate_is_refused_with_what_helps() {
        for query in ["sslcert=/c.pem", "ssl-key=/k.pem"] {
            let error = parse(&format!("postgres://h/d?{query}"), &Options::new()).unwrap_err();
            assert!(error.to_string().contains("client certificates"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_url_panics(url in "(sqlite:|postgres://|mysql://)?[ -~é]{0,60}") {
            let _ = parse(&url, &Options::new());
        }
    }
}
