//! TLS to each server: who asks for it gets it verified, and gets it or an error.
//!
//! The servers' certificate is for `localhost`, by the authority of `FES_TEST_TLS_CA`; they listen
//! at 127.0.0.1.

use crate::support::Db;
use futoin_eventstream::{DatabaseKind, ErrorKind, EventStream, Result};

/// Opens the database by this host name and these parameters.
fn open(db: &Db, host: &str, parameters: &[(&str, &str)]) -> Result<EventStream> {
    EventStream::open(&db.url_with(|url| {
        url.set_host(Some(host)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
    }))
}

/// Whether the connections of the stream are encrypted, as the server says.
fn encrypted(stream: &EventStream) -> bool {
    let mut tx = stream.begin().unwrap();
    let sql = match stream.kind() {
        DatabaseKind::Postgres => "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        _ => "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
    };
    let rows = tx.query(sql, &[]).unwrap();
    rows[0].last().unwrap().as_str().is_some_and(|cipher| !cipher.is_empty())
}

/// The names of the parameters differ as those of libpq and MySQL do.
struct Names {
    mode: &'static str,
    ca: &'static str,
    full: &'static str,
    authority: &'static str,
}

fn names(db: &Db) -> Names {
    match db.kind {
        DatabaseKind::Postgres => Names {
            mode: "sslmode",
            ca: "sslrootcert",
            full: "verify-full",
            authority: "verify-ca",
        },
        _ => Names {
            mode: "ssl-mode",
            ca: "ssl-ca",
            full: "VERIFY_IDENTITY",
            authority: "VERIFY_CA",
        },
    }
}

/// The right authority and a wrong one.
fn authorities() -> Option<(String, String)> {
    Some((
        crate::support::variable("FES_TEST_TLS_CA")?,
        crate::support::variable("FES_TEST_TLS_WRONG_CA")?,
    ))
}

on_servers!(
    a_verified_connection_works_and_is_encrypted,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let (Names { mode, ca, full, authority }, Some((right, _))) = (names(db), authorities())
        else {
            return;
        };
        for parameters in [
            [(mode, full), (ca, &right)],
            [(mode, authority), (ca, &right)],
            [(mode, "require"), (ca, &right)],
        ] {
            let stream = open(db, "localhost", &parameters).unwrap();
            assert!(encrypted(&stream), "{parameters:?}");
        }
        // The authority alone is looked at, not the name.
        let stream = open(db, "127.0.0.1", &[(mode, authority), (ca, &right)]).unwrap();
        assert!(encrypted(&stream));
        stream.migrate().unwrap();
        let large = "x".repeat(300_000);
        stream.add_event("USR_ADD", &large).unwrap();
        let events = crate::support::everything(&stream);
        assert!(events[0].data.parse::<String>().unwrap() == large);
    }
);

on_servers!(what_cannot_be_verified_is_refused, [postgres, postgres18, mariadb, mysql], |db| {
    let (Names { mode, ca, full, authority }, Some((right, wrong))) = (names(db), authorities())
    else {
        return;
    };
    let no_file = "/no/such/file.pem";
    for (host, parameters) in [
        ("localhost", vec![(mode, full), (ca, &*wrong)]),
        ("localhost", vec![(mode, authority), (ca, &*wrong)]),
        ("127.0.0.1", vec![(mode, full), (ca, &*right)]),
        ("127.0.0.1", vec![(mode, "require"), (ca, &*right)]),
        // The system's authorities do not know the servers.
        ("localhost", vec![(mode, full)]),
        ("localhost", vec![(mode, "require")]),
        ("localhost", vec![(mode, full), (ca, no_file)]),
    ] {
        let error = open(db, host, &parameters).err();
        let error = error.unwrap_or_else(|| panic!("{host} {parameters:?} was accepted"));
        assert_eq!(error.kind(), ErrorKind::ConnectFailed, "{host} {parameters:?}");
        if parameters.contains(&(ca, no_file)) {
            assert!(error.to_string().contains(no_file), "{error}");
        }
    }
});

on_servers!(
    encryption_without_verification_must_be_asked_for,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let mode = names(db).mode;
        let insecure = [(mode, "require"), ("ssl-insecure", "true")];
        assert!(encrypted(&open(db, "127.0.0.1", &insecure).unwrap()));
        // What is preferred is used where it can be had.
        assert!(encrypted(&open(db, "127.0.0.1", &[(mode, "prefer")]).unwrap()));
        assert!(!encrypted(&open(db, "127.0.0.1", &[(mode, "disable")]).unwrap()));
    }
);

on_servers!(verified_connections_are_made_by_many_threads, [postgres, mariadb, mysql], |db| {
    let (Names { mode, ca, full, .. }, Some((right, _))) = (names(db), authorities()) else {
        return;
    };
    let stream = open(db, "localhost", &[(mode, full), (ca, &right)]).unwrap();
    stream.migrate().unwrap();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let stream = &stream;
            scope.spawn(move || stream.add_event("USR_ADD", &n).unwrap());
        }
    });
    assert_eq!(crate::support::everything(&stream).len(), 6);
});
