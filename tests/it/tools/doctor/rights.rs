//! Rights, transactions and the settings of one database.

use super::*;

on_servers!(
    missing_rights_are_named_and_their_grants_help,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        db.stream().close();
        for role in ["generator", "consumer", "archiver", "discarder"] {
            let Role(_, user, url) = &Role::new(db, role);
            let options = DoctorOptions::new().role(role).unwrap();
            let name = format!("role_{role}");
            let stream = EventStream::open(url).unwrap();
            let checks = stream.doctor(None, &options).unwrap();
            let found = check(&checks, &name).clone();
            assert_eq!(found.status, CheckStatus::Failure, "{checks:#?}");
            fails(&checks, &[&name]);
            let roles = checks.iter().filter(|check| check.name.starts_with("role_")).count();
            assert_eq!(roles, 1, "{checks:#?}");
            for grant in found.remedy.unwrap().split("; ") {
                assert!(grant.ends_with(user.as_str()) || grant.contains(user.as_str()), "{grant}");
                db.raw().exec(grant);
            }
            let stream = EventStream::open(url).unwrap();
            let checks = stream.doctor(None, &options).unwrap();
            assert_eq!(check(&checks, &name).status, CheckStatus::Ok, "{checks:#?}");
            fails(&checks, &[]);
            // Nobody asked for the others.
            let checks = stream.doctor(None, &DoctorOptions::new()).unwrap();
            fails(&checks, &[]);
        }
        let wrong = DoctorOptions::new().role("nobody").unwrap_err();
        assert!(wrong.to_string().contains("generator, consumer, archiver, discarder"), "{wrong}");
    }
);

on_servers!(
    rights_that_the_archiver_lacks_in_the_warehouse_are_named,
    [postgres, mariadb, mysql],
    |db| {
        let stream = Db::on("sqlite").unwrap();
        let stream = stream.stream();
        Warehouse::open(&db.url).unwrap().migrate().unwrap();
        let Role(_, user, url) = &Role::new(db, "archiver");
        let schema =
            if db.kind == DatabaseKind::Mysql { format!("{}.", db.name) } else { String::new() };
        db.raw().exec(&format!("GRANT SELECT ON {schema}evt_history TO {user}"));
        let options = DoctorOptions::new().role("archiver").unwrap();
        let look = || stream.doctor(Some(&Warehouse::open(url).unwrap()), &options).unwrap();
        let checks = look();
        fails(&checks, &["warehouse_role"]);
        let remedy = check(&checks, "warehouse_role").remedy.clone().unwrap();
        assert!(remedy.starts_with("GRANT INSERT ON "), "{remedy}");
        db.raw().exec(&remedy);
        fails(&look(), &[]);
    }
);

on_servers!(row_level_security_is_a_failure, [postgres, postgres18], |db| {
    db.stream().close();
    let Role(_, user, url) = &Role::new(db, "consumer");
    let mut raw = db.raw();
    raw.exec(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}"));
    raw.exec(&format!("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}"));
    fails(&look(&EventStream::open(url).unwrap(), None), &[]);
    raw.exec("ALTER TABLE evt_queue ENABLE ROW LEVEL SECURITY");
    raw.exec("CREATE POLICY own ON evt_queue USING (type = 'MINE')");
    let checks = look(&EventStream::open(url).unwrap(), None);
    let found = check(&checks, "row_security");
    assert_eq!(found.status, CheckStatus::Failure, "{checks:#?}");
    assert!(found.seen.contains("own") && found.seen.contains(user), "{found:?}");
});

on_servers!(an_old_open_transaction_is_a_warning, [postgres, mariadb, mysql], |db| {
    let stream = db.stream();
    let mut open = stream.begin().unwrap();
    open.add_event("A", &1).unwrap();
    stream.add_event("A", &2).unwrap();
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let found = check(&checks, "open_transactions");
    assert!(found.status == CheckStatus::Ok && found.seen.contains("at work"), "{found:?}");
    open.rollback().unwrap();
});

on_servers!(prepared_transactions_are_told, [postgres, mariadb, mysql], |db| {
    let stream = db.stream();
    let name = format!("{}_x", db.name);
    let mut raw = db.raw();
    let (begin, prepare, end) = match db.kind {
        DatabaseKind::Postgres => (
            vec!["BEGIN".to_owned()],
            vec![format!("PREPARE TRANSACTION '{name}'")],
            format!("ROLLBACK PREPARED '{name}'"),
        ),
        _ => (
            vec![format!("XA START '{name}'")],
            vec![format!("XA END '{name}'"), format!("XA PREPARE '{name}'")],
            format!("XA ROLLBACK '{name}'"),
        ),
    };
    begin.iter().for_each(|sql| raw.exec(sql));
    raw.exec(&db.insert_sql("A"));
    prepare.iter().for_each(|sql| raw.exec(sql));
    let checks = look(&stream, None);
    raw.exec(&end);
    fails(&checks, &[]);
    let found = check(&checks, "prepared_transactions");
    // PostgreSQL tells since when, so that it is a warning after a minute only.
    assert!(found.seen.starts_with(|c: char| c.is_ascii_digit()), "{found:?}");
    assert_eq!(found.status == CheckStatus::Warning, db.kind == DatabaseKind::Mysql, "{found:?}");
});

on_servers!(columns_of_the_npm_package_are_a_warning, [mariadb, mysql], |db| {
    let stream = db.stream();
    db.raw().exec("DELETE FROM evt_schema WHERE version = '18.2'");
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let found = check(&checks, "schema");
    assert!(found.status == CheckStatus::Warning && found.seen.contains("18.2"), "{found:?}");
    db.raw().exec("ALTER TABLE evt_queue CONVERT TO CHARACTER SET latin1");
    fails(&look(&stream, None), &["charset"]);
});

#[test]
fn a_pooler_in_transaction_mode_is_a_failure_and_one_in_session_mode_is_not() {
    let Some(db) = Db::on("postgres") else { return };
    db.stream().close();
    for (mode, status) in [("transaction", CheckStatus::Failure), ("session", CheckStatus::Ok)] {
        let name = format!("doctor-{mode}");
        let setting = format!("pool_mode = {mode}");
        let Some(pool) = Spare::bouncer_before(&db.url, &name, &[&setting]) else { return };
        let url = crate::support::with_database(&pool.url, &db.name);
        match EventStream::open(&url) {
            Ok(stream) => {
                let checks = look(&stream, None);
                // The pooler may be noticed before the doctor has a connection.
                let told = checks.iter().find(|check| check.name == "pooler");
                let told = told.unwrap_or_else(|| check(&checks, "reachable"));
                assert_eq!(told.status, status, "{mode}: {checks:#?}");
                assert!(status == CheckStatus::Ok || format!("{told:?}").contains("pooler"));
                stream.close();
            }
            Err(error) => {
                assert_eq!(status, CheckStatus::Failure, "{mode}: {error}");
                assert!(error.to_string().contains("pooler=transaction"), "{error}");
            }
        }
        Spare::drop(&format!("pgbouncer-{name}"));
    }
}

#[test]
fn with_the_option_a_pooler_in_transaction_mode_is_told_and_all_checks_are_made() {
    let Some(db) = Db::on("postgres") else { return };
    db.stream().close();
    let Some(pool) = Spare::bouncer_before(&db.url, "doctor-option", &["pool_mode = transaction"])
    else {
        return;
    };
    let options = Options::new().set("pooler", "transaction").unwrap();
    let url = crate::support::with_database(&pool.url, &db.name);
    let stream = EventStream::open_with(&url, &options).unwrap();
    stream.migrate().unwrap();
    let warehouse = Warehouse::open_with(&url, &options).unwrap();
    warehouse.migrate().unwrap();
    let checks = look(&stream, Some(&warehouse));
    fails(&checks, &[]);
    assert!(named(&checks, CheckStatus::Unknown).is_empty(), "{checks:#?}");
    let pooler = check(&checks, "pooler");
    assert!(pooler.seen.contains("as pooler=transaction says"), "{pooler:?}");
    // The same checks as without a pooler.
    let names = |checks: &[Check]| checks.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let direct = EventStream::open(&db.url).unwrap();
    assert_eq!(names(&checks), names(&look(&direct, Some(&Warehouse::open(&db.url).unwrap()))));
    // What is wrong is found there, too; without sessions nobody undoes what the role has set.
    let set = "SET default_transaction_read_only = on";
    db.raw().exec(&format!("ALTER DATABASE {} {set}", db.name));
    db.kill_sessions();
    let checks = look(&EventStream::open_with(&db.url, &options).unwrap(), None);
    assert!(named(&checks, CheckStatus::Failure).contains("writable"), "{checks:#?}");
    stream.close();
    Spare::drop("pgbouncer-doctor-option");
}

on_servers!(a_database_that_gives_durability_away_is_a_warning, [postgres, postgres18], |db| {
    db.stream().close();
    let name = &db.name;
    db.raw().exec(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let checks = look(&EventStream::open(&db.url).unwrap(), None);
    fails(&checks, &[]);
    let found = check(&checks, "durability");
    assert_eq!(found.status, CheckStatus::Warning, "{found:?}");
    assert!(found.seen.contains("synchronous_commit=off"), "{found:?}");
});

on_each_server!(whether_ids_may_be_given_is_told, |db| {
    let accepts = check(&look(&db.stream(), None), "explicit_ids").seen.clone();
    assert!(accepts.contains("strict_ids=true"), "{accepts}");
    let strict = db.stream_with(&[("strict_ids", "true")]);
    let refuses = check(&look(&strict, None), "explicit_ids").seen.clone();
    assert!(refuses.contains("refuses them"), "{refuses}");
    fails(&look(&strict, None), &[]);
});

on_servers!(partitions_are_counted, [postgres, postgres18], |db| {
    let stream = db.stream();
    assert_eq!(check(&look(&stream, None), "partitions").seen, "0 of them");
    db.raw().exec("CREATE TABLE more () INHERITS (evt_queue)");
    assert_eq!(check(&look(&stream, None), "partitions").seen, "1 of them");
});

on_servers!(an_encrypted_connection_is_told, [postgres, mariadb, mysql], |db| {
    let Some(authority) = crate::support::variable("FES_TEST_TLS_CA") else { return };
    db.stream().close();
    let (mode, certificates) = match db.kind {
        DatabaseKind::Postgres => ("sslmode", "sslrootcert"),
        _ => ("ssl-mode", "ssl-ca"),
    };
    let plain = [(mode, "disable")];
    let secret = [(mode, "require"), (certificates, authority.as_str())];
    for (parameters, wanted) in [(&plain[..], "not encrypted"), (&secret[..], "is encrypted")] {
        let url = db.url_with(|url| {
            url.set_host(Some("localhost")).unwrap();
            url.query_pairs_mut().extend_pairs(parameters);
        });
        let checks = look(&EventStream::open(&url).unwrap(), None);
        let tls = check(&checks, "tls");
        assert_eq!(tls.status, CheckStatus::Ok, "{tls:?}");
        assert!(tls.seen.contains(wanted), "{tls:?}");
    }
});

on_servers!(who_may_not_see_the_locks_is_warned, [mysql], |db| {
    db.stream().close();
    let Role(_, user, url) = &Role::new(db, "consumer");
    db.raw().exec(&format!("GRANT SELECT ON {}.evt_queue TO {user}", db.name));
    let see = || look(&EventStream::open(url).unwrap(), None);
    let found = check(&see(), "metadata_locks").clone();
    assert_eq!(found.status, CheckStatus::Warning, "{found:?}");
    let grant = found.remedy.unwrap().replace("this user", user);
    db.raw().exec(&grant);
    assert_eq!(check(&see(), "metadata_locks").status, CheckStatus::Ok);
});

on_servers!(ids_that_run_out_are_a_failure, [postgres, postgres18], |db| {
    let stream = db.stream();
    db.raw().exec("SELECT setval('evt_queue_id_seq', 950000000000000000)");
    fails(&look(&stream, None), &["ids_left"]);
});

on_servers!(a_table_without_ids_of_its_own_is_a_failure, [sqlite], |db| {
    db.stream().close();
    let mut raw = db.raw();
    raw.exec("DROP TABLE evt_queue");
    raw.exec("CREATE TABLE evt_queue (id INTEGER PRIMARY KEY, type TEXT, data TEXT, ts TEXT)");
    let checks = look(&EventStream::open(&db.url).unwrap(), None);
    assert_eq!(check(&checks, "sequence").status, CheckStatus::Failure, "{checks:#?}");
});
