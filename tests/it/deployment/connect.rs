//! Getting connections: what goes wrong is told by kind, soon and without the password; what the
//! server ended is replaced; who waits for a free one does not wait for ever.

use crate::support::failure;
use crate::support::proxy::{Mode, Proxy};
use futoin_eventstream::{DatabaseKind, Error, ErrorKind, EventStream, Options, Want};
use std::error::Error as _;
use std::time::{Duration, Instant};

/// Opens what cannot be opened, and checks that it is told soon and without secrets.
fn refused(url: &str, secrets: &[&str]) -> Error {
    let start = Instant::now();
    let error = EventStream::open(url).err().expect("a failure");
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    let mut texts = vec![format!("{error} {error:?} {error:#?}")];
    let mut source = error.source();
    while let Some(why) = source {
        texts.push(format!("{why} {why:?}"));
        source = why.source();
    }
    for secret in secrets {
        assert!(texts.iter().all(|text| !text.contains(secret)), "{texts:?}");
    }
    error
}

on_servers!(a_wrong_password_is_told, [postgres, postgres18, mariadb, mysql], |db| {
    let right = url::Url::parse(&db.url).unwrap().password().unwrap().to_owned();
    let url = db.url_with(|url| url.set_password(Some("not-the-secret")).unwrap());
    let error = refused(&url, &["not-the-secret", &right]);
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    // It stays wrong; and the place is named.
    assert!(!error.is_retriable(), "{error}");
    let port = url::Url::parse(&db.url).unwrap().port().unwrap();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    let url = db.url_with(|url| url.set_username("nobody-of-this-name").unwrap());
    assert_eq!(refused(&url, &[&right]).kind(), ErrorKind::ConnectFailed);
    let url = db.url_with(|url| url.set_password(None).unwrap());
    assert_eq!(refused(&url, &[]).kind(), ErrorKind::ConnectFailed);
});

on_servers!(an_unknown_database_is_named, [postgres, postgres18, mariadb, mysql], |db| {
    let right = url::Url::parse(&db.url).unwrap().password().unwrap().to_owned();
    let error = refused(&crate::support::with_database(&db.url, "no_such_database"), &[&right]);
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(error.to_string().contains("no_such_database"), "{error}");
    assert!(!error.is_retriable(), "{error}");
});

on_servers!(a_closed_port_is_told, [postgres, mariadb], |db| {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = db.url_with(|url| url.set_port(Some(free)).unwrap());
    let right = url::Url::parse(&db.url).unwrap().password().unwrap().to_owned();
    let error = refused(&url, &[&right]);
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(error.is_retriable());
    assert!(error.to_string().contains(&format!("127.0.0.1:{free}")), "{error}");
    // One of several hosts will do.
    let several = db.url.replace("@", &format!("@127.0.0.1:{free},"));
    EventStream::open(&format!("{several}?target_session_attrs=read-write")).unwrap();
    // No server speaks so: it is no endless wait, nor a crash.
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = http.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        for socket in http.incoming() {
            let _ = socket.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let url = db.url_with(|url| url.set_port(Some(port)).unwrap());
    assert_eq!(refused(&url, &[&right]).kind(), ErrorKind::ConnectFailed);
});

on_servers!(a_reset_is_no_failed_handshake, [postgres, postgres18, mariadb, mysql], |db| {
    let proxy = Proxy::before(&db.url);
    proxy.set(Mode::Reset);
    let plain = proxy.url(&db.url);
    let mark = if plain.contains('?') { '&' } else { '?' };
    for url in [format!("{plain}{mark}sslmode=require"), plain] {
        let error = refused(&url, &[]);
        let text = error.to_string();
        assert_eq!(
            (error.kind(), error.is_retriable()),
            (ErrorKind::ConnectFailed, true),
            "{text}"
        );
        assert!(text.contains(&format!("127.0.0.1:{}", proxy.port())), "{text}");
        assert!(!text.to_lowercase().contains("tls handshake"), "{text}");
    }
});

#[test]
fn nonsense_is_no_url() {
    for url in [
        "",
        "events.db",
        "sqlite:",
        "oracle://u:the-secret@h/d",
        "postgres://u:the-secret@h",
        "mysql://u:the-secret@/d",
        "mysql://u:the-secret@h/d?no_such_option=1",
        "postgres://u:the-secret@h:port/d",
    ] {
        assert_eq!(refused(url, &["the-secret"]).kind(), ErrorKind::InvalidUrl, "{url}");
    }
    let url = "postgres://u:the-secret@h/d?max_connections=0";
    assert_eq!(refused(url, &["the-secret"]).kind(), ErrorKind::InvalidOption);
}

#[test]
fn a_sqlite_file_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    assert_eq!(refused(&url("no/such/folder.db"), &[]).kind(), ErrorKind::ConnectFailed);
    assert_eq!(refused(&url(""), &[]).kind(), ErrorKind::ConnectFailed);
    std::fs::write(folder.path().join("text.db"), "this is no database ".repeat(100)).unwrap();
    let error = refused(&url("text.db"), &[]);
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(error.to_string().contains("text.db") && !error.is_retriable(), "{error}");
    assert!(!refused(&url("no/such/folder.db"), &[]).is_retriable());
}

on_servers!(
    a_unix_socket_is_used_where_it_is_named,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let name = format!("FES_TEST_{}_SOCKET", db.server.to_uppercase());
        let Some(socket) = crate::support::variable(&name) else { return };
        // Nobody listens at this port: it can only be the socket.
        let by_port = |port| {
            db.url_with(|url| {
                url.set_port(port).unwrap();
                url.query_pairs_mut().append_pair("socket", &socket);
            })
        };
        // PostgreSQL has the port in the name of the socket's file.
        let port = url::Url::parse(&db.url).unwrap().port();
        let port = if db.kind == DatabaseKind::Postgres { port } else { Some(1) };
        let stream = EventStream::open(&by_port(port)).unwrap();
        stream.migrate().unwrap();
        stream.add_event("USR_ADD", &1).unwrap();
        assert_eq!(crate::support::everything(&stream).len(), 1);
        if db.kind == DatabaseKind::Postgres {
            let mut tx = stream.begin().unwrap();
            let rows = tx.query("SELECT inet_server_addr()::text", &[]).unwrap();
            assert_eq!(rows, [[futoin_eventstream::Value::Null]]);
            let as_host = db.url_with(|url| {
                url.query_pairs_mut().append_pair("host", &socket);
            });
            EventStream::open(&as_host).unwrap();
        }
    }
);

on_servers!(
    sessions_that_the_server_ended_are_replaced,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Audit").unwrap();
        consumer.register().unwrap();
        let idle = || std::thread::sleep(Duration::from_millis(600));
        let mut expected = Vec::new();
        for round in 0..2 {
            // A gap, so that the session that watches is needed as well.
            stream.begin().and_then(|mut tx| tx.add_event("GAP", &()).map(drop)).unwrap();
            expected.push(stream.add_event("USR_ADD", &round).unwrap());
            db.kill_sessions();
            let events = consumer.poll(None, &Want::all()).unwrap();
            assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), expected);
            db.kill_sessions();
            stream.lag().unwrap();
            db.kill_sessions();
            idle();
            expected.push(stream.add_event("USR_ADD", &round).unwrap());
            db.kill_sessions();
            idle();
            let mut tx = stream.begin().unwrap();
            expected.push(tx.add_event("USR_ADD", &round).unwrap());
            tx.commit().unwrap();
        }
        // Within a transaction it is told, and nothing of it stays.
        let mut tx = stream.begin().unwrap();
        tx.add_event("USR_ADD", &"lost").unwrap();
        db.kill_sessions();
        assert_eq!(failure(tx.add_event("USR_ADD", &"lost")), ErrorKind::ConnectionLost);
        assert!(tx.commit().is_err());
        let events = consumer.poll(None, &Want::all()).unwrap();
        assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), expected);
    }
);

on_each_server!(who_waits_for_a_connection_is_told_in_time, |db| {
    let stream = db.stream_with(&[("max_connections", "1"), ("connect_timeout_ms", "700")]);
    let tx = stream.begin().unwrap();
    let start = Instant::now();
    let error = stream.add_event("USR_ADD", &1).unwrap_err();
    let waited = start.elapsed();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(error.is_retriable() && error.to_string().contains("connection"), "{error}");
    assert!((700..3000).contains(&waited.as_millis()), "{waited:?}");
    // And gets it as soon as it is free.
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| stream.add_event("USR_ADD", &2));
        std::thread::sleep(Duration::from_millis(100));
        tx.rollback().unwrap();
        adding.join().unwrap().unwrap();
    });
});

on_servers!(a_busy_sqlite_file_is_told_in_time_and_read_meanwhile, [sqlite], |db| {
    let stream = db.stream_with(&[("busy_timeout_ms", "400")]);
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    stream.add_event("USR_ADD", &1).unwrap();
    let busy = |mut call: Box<dyn FnMut() -> ErrorKind + '_>| {
        let start = Instant::now();
        assert_eq!(call(), ErrorKind::Busy);
        assert!((400..20_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    };
    let all_are_busy = || {
        busy(Box::new(|| failure(stream.add_event("USR_ADD", &2))));
        busy(Box::new(|| failure(stream.begin().map(drop))));
        busy(Box::new(|| failure(consumer.acknowledge(1))));
        assert_eq!(consumer.poll(None, &Want::all()).unwrap().len(), 1);
    };
    // Another process, or another connection of this one; and a transaction of this stream.
    let mut raw = db.raw();
    raw.exec("BEGIN IMMEDIATE");
    all_are_busy();
    raw.exec("COMMIT");
    let tx = stream.begin().unwrap();
    all_are_busy();
    tx.rollback().unwrap();
    stream.add_event("USR_ADD", &3).unwrap();
    consumer.acknowledge(2).unwrap();
});

/// Runs this test program's test `name` in a process of its own with these variables.
fn in_a_process(name: &str, variables: &[(&str, &str)]) {
    let output = crate::support::rerun(module_path!(), name)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

on_each_server!(the_environment_may_name_the_database, |db| {
    // The second process: it finds the variables, and adds an event where they lead.
    if std::env::var_os("DB_EVT_TYPE").is_some() {
        let stream = EventStream::from_env(&Options::new()).unwrap();
        stream.migrate().unwrap();
        stream.add_event("FROM_ENV", &1).unwrap();
        let hurry = Options::new().set("connect_timeout_ms", "500").unwrap();
        let stream = EventStream::from_env(&hurry).unwrap();
        let _only = stream.begin().unwrap();
        assert_eq!(failure(stream.begin().map(drop)), ErrorKind::ConnectFailed);
        return;
    }
    let name = format!("the_environment_may_name_the_database::{}", db.server);
    let path;
    let url;
    let mut variables = vec![("DB_EVT_MAXCONN", "1")];
    if db.kind == DatabaseKind::Sqlite {
        path = db.path().display().to_string();
        variables.extend([("DB_EVT_TYPE", "sqlite"), ("DB_EVT_SOCKET", &path)]);
    } else {
        let kind = if db.kind == DatabaseKind::Postgres { "postgresql" } else { "mysql" };
        url = url::Url::parse(&db.url).unwrap();
        path = url.port().unwrap().to_string();
        variables.extend([
            ("DB_EVT_TYPE", kind),
            ("DB_EVT_HOST", url.host_str().unwrap()),
            ("DB_EVT_PORT", &path),
            ("DB_EVT_USER", url.username()),
            ("DB_EVT_PASS", url.password().unwrap()),
            ("DB_EVT_DB", &db.name),
        ]);
    }
    in_a_process(&name, &variables);
    let stream = db.stream();
    let events = crate::support::everything(&stream);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "FROM_ENV");
});
