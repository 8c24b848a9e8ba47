//! Events on the caller's own connection: `add_event_to` with the driver's connections and
//! transactions, and `statement` for whatever driver the caller has.

use crate::support::{Db, Raw, everything, failure};
use futoin_eventstream::{
    DatabaseKind, ErrorKind, EventStream, NewEvent, Options, Statement, mysql, postgres, rusqlite,
};
use mysql::prelude::Queryable;

/// The data of all events that are there.
fn data(stream: &EventStream) -> Vec<String> {
    everything(stream).into_iter().map(|event| event.data.into_string()).collect()
}

fn with_users(db: &Db) -> EventStream {
    db.raw().exec("CREATE TABLE users(name varchar(50) NOT NULL PRIMARY KEY)");
    db.stream()
}

fn users(db: &Db) -> Vec<String> {
    db.raw().texts("SELECT name FROM users ORDER BY name")
}

const ADD_ANN: &str = "INSERT INTO users(name) VALUES ('Ann')";

on_servers!(an_event_lives_and_dies_with_a_transaction_of_rusqlite, [sqlite], |db| {
    let stream = with_users(db);
    let mut own = rusqlite::Connection::open(db.path()).unwrap();
    let alone = stream.add_event_to(&mut own, "USR_ADD", &0).unwrap();

    let mut tx = own.transaction().unwrap();
    tx.execute(ADD_ANN, []).unwrap();
    stream.add_event_to(&mut tx, "USR_ADD", &1).unwrap();
    tx.rollback().unwrap();

    let mut tx = own.transaction().unwrap();
    tx.execute(ADD_ANN, []).unwrap();
    let kept = stream.add_event_to(&mut tx, "USR_ADD", &2).unwrap();
    let mut savepoint = tx.savepoint().unwrap();
    stream.add_event_to(&mut savepoint, "USR_ADD", &3).unwrap();
    drop(savepoint);
    let mut savepoint = tx.savepoint().unwrap();
    let last = stream.add_event_to(&mut savepoint, "USR_ADD", &4).unwrap();
    savepoint.commit().unwrap();
    tx.commit().unwrap();

    let ids: Vec<u64> = everything(&stream).iter().map(|event| event.id).collect();
    assert_eq!(ids, [alone, kept, last]);
    assert_eq!(data(&stream), ["0", "2", "4"]);
    assert_eq!(users(db), ["Ann"]);
});

on_servers!(an_event_lives_and_dies_with_a_transaction_of_postgres, [postgres, postgres18], |db| {
    let stream = with_users(db);
    let mut own = postgres::Client::connect(&db.url, postgres::NoTls).unwrap();
    // The session's time zone is the caller's business; events are in UTC all the same.
    own.batch_execute("SET timezone = 'Asia/Tokyo'").unwrap();
    let alone = stream.add_event_to(&mut own, "USR_ADD", &0).unwrap();

    let mut tx = own.transaction().unwrap();
    tx.batch_execute(ADD_ANN).unwrap();
    stream.add_event_to(&mut tx, "USR_ADD", &1).unwrap();
    tx.rollback().unwrap();

    let tx = own.build_transaction().isolation_level(postgres::IsolationLevel::Serializable);
    let mut tx = tx.start().unwrap();
    tx.batch_execute(ADD_ANN).unwrap();
    let kept = stream.add_event_to(&mut tx, "USR_ADD", &2).unwrap();
    let mut savepoint = tx.transaction().unwrap();
    stream.add_event_to(&mut savepoint, "USR_ADD", &3).unwrap();
    savepoint.rollback().unwrap();
    tx.commit().unwrap();

    let events = everything(&stream);
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, [alone, kept]);
    assert_eq!(data(&stream), ["0", "2"]);
    assert!((events[1].ts.unix() - events[0].ts.unix()).abs() < 60);
    let late =
        db.raw().number("SELECT count(*) FROM evt_queue WHERE ts > now() AT TIME ZONE 'UTC'");
    assert_eq!(late, 0);
    assert_eq!(users(db), ["Ann"]);
});

on_servers!(an_event_lives_and_dies_with_a_transaction_of_mysql, [mariadb, mysql], |db| {
    let stream = with_users(db);
    let Raw::Mysql(mut own) = db.raw() else { unreachable!() };
    own.query_drop("SET SESSION time_zone = '+09:00'").unwrap();
    let alone = stream.add_event_to(&mut *own, "USR_ADD", &0).unwrap();

    let mut tx = own.start_transaction(mysql::TxOpts::default()).unwrap();
    tx.query_drop(ADD_ANN).unwrap();
    stream.add_event_to(&mut tx, "USR_ADD", &1).unwrap();
    tx.rollback().unwrap();

    let mut tx = own.start_transaction(mysql::TxOpts::default()).unwrap();
    tx.query_drop(ADD_ANN).unwrap();
    let kept = stream.add_event_to(&mut tx, "USR_ADD", &2).unwrap();
    tx.commit().unwrap();

    let options = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(&db.url).unwrap());
    let pool = mysql::Pool::new(options.prefer_socket(false)).unwrap();
    let pooled = stream.add_event_to(&mut pool.get_conn().unwrap(), "USR_ADD", &3).unwrap();
    let mut tx = pool.start_transaction(mysql::TxOpts::default()).unwrap();
    stream.add_event_to(&mut tx, "USR_ADD", &4).unwrap();
    drop(tx);

    let ids: Vec<u64> = everything(&stream).iter().map(|event| event.id).collect();
    assert_eq!(ids, [alone, kept, pooled]);
    assert_eq!(data(&stream), ["0", "2", "3"]);
    let late = db.raw().number("SELECT count(*) FROM evt_queue WHERE ts > UTC_TIMESTAMP()");
    assert_eq!(late, 0);
    assert_eq!(users(db), ["Ann"]);
});

on_each_server!(what_cannot_be_added_is_refused_and_leaves_the_transaction_alone, |db| {
    let stream = db.stream_with(&[("max_event_bytes", "10")]);
    let mut sqlite = rusqlite::Connection::open_in_memory().unwrap();
    if db.kind != DatabaseKind::Sqlite {
        let error = stream.add_event_to(&mut sqlite, "USR_ADD", &1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("Sqlite"), "{error}");
    }
    fn refusals<T: futoin_eventstream::EventTarget>(stream: &EventStream, target: &mut T) {
        assert_eq!(failure(stream.add_event_to(target, "usr", &1)), ErrorKind::InvalidType);
        assert_eq!(failure(stream.add_event_to(target, "USR", "nine chars")), ErrorKind::TooLarge);
        stream.add_event_to(target, "USR_ADD", &1).unwrap();
    }
    match db.raw() {
        Raw::Sqlite(mut own) => {
            let mut tx = own.transaction().unwrap();
            refusals(&stream, &mut tx);
            tx.commit().unwrap();
        }
        Raw::Postgres(mut own) => {
            let mut tx = own.transaction().unwrap();
            refusals(&stream, &mut tx);
            tx.commit().unwrap();
        }
        Raw::Mysql(mut own) => {
            let mut tx = own.start_transaction(mysql::TxOpts::default()).unwrap();
            refusals(&stream, &mut tx);
            tx.commit().unwrap();
        }
    }
    assert_eq!(data(&stream), ["1"]);
});

on_servers!(what_is_too_large_for_a_packet_leaves_the_connection_usable, [mariadb, mysql], |db| {
    let stream = db.stream_with(&[("max_event_bytes", "200000000")]);
    let Raw::Mysql(mut own) = db.raw() else { unreachable!() };
    let limit: Option<usize> = own.query_first("SELECT @@max_allowed_packet").unwrap();
    let large = "x".repeat(limit.unwrap());
    let mut tx = own.start_transaction(mysql::TxOpts::default()).unwrap();
    stream.add_event_to(&mut tx, "SMALL", &1).unwrap();
    assert_eq!(failure(stream.add_event_to(&mut tx, "LARGE", &large)), ErrorKind::TooLarge);
    stream.add_event_to(&mut tx, "SMALL", &2).unwrap();
    tx.commit().unwrap();
    assert_eq!(data(&stream), ["1", "2"]);
});

on_each_server!(missing_tables_are_told_on_the_callers_connection_too, |db| {
    let stream = EventStream::open(&db.url).unwrap();
    let kind = match db.raw() {
        Raw::Sqlite(mut own) => failure(stream.add_event_to(&mut own, "USR_ADD", &1)),
        Raw::Postgres(mut own) => failure(stream.add_event_to(&mut *own, "USR_ADD", &1)),
        Raw::Mysql(mut own) => failure(stream.add_event_to(&mut *own, "USR_ADD", &1)),
    };
    assert_eq!(kind, ErrorKind::NotMigrated);
});

/// Executes a statement as an application would that knows nothing of this crate's types.
fn execute(raw: &mut Raw, statement: &Statement) {
    let [event_type, data] = &statement.params;
    match raw {
        Raw::Sqlite(own) => assert_eq!(own.execute(&statement.sql, [event_type, data]), Ok(1)),
        Raw::Postgres(own) => {
            // As text whose type the server finds out, like most drivers send it.
            let unknown = postgres::types::Type::UNKNOWN;
            let params: [(&(dyn postgres::types::ToSql + Sync), _); 2] =
                [(event_type, unknown.clone()), (data, unknown)];
            own.query_typed(&statement.sql, &params).unwrap();
        }
        Raw::Mysql(own) => {
            own.exec_drop(&statement.sql, (event_type, data)).unwrap();
            assert_eq!(own.affected_rows(), 1);
        }
    }
}

on_each_server!(a_statement_adds_the_event_by_any_driver, |db| {
    let stream = db.stream();
    let statement = stream.statement("USR_ADD", &serde_json::json!({"a": "😀'"})).unwrap();
    let (begin, mut raw) = ("BEGIN", db.raw());
    raw.exec(begin);
    execute(&mut raw, &statement);
    raw.exec("ROLLBACK");
    raw.exec(begin);
    execute(&mut raw, &statement);
    raw.exec("COMMIT");
    let events = everything(&stream);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "USR_ADD");
    let data: serde_json::Value = events[0].data.parse().unwrap();
    assert_eq!(data, serde_json::json!({"a": "😀'"}));
    // Also without a stream, which is the same statement.
    let event = NewEvent::new("USR_ADD", &serde_json::json!({"a": "😀'"})).unwrap();
    assert_eq!(Statement::new(db.kind, &event, &Options::new()).unwrap(), statement);
});

on_each_server!(a_statement_names_the_configured_table, |db| {
    let options = [("event_table", "own_queue"), ("consumer_table", "own_consumers")];
    let stream = db.stream_with(&options);
    execute(&mut db.raw(), &stream.statement("USR_ADD", &1).unwrap());
    assert_eq!(db.raw().number("SELECT count(*) FROM own_queue"), 1);
    assert_eq!(data(&stream), ["1"]);
});

on_servers!(a_statement_takes_typed_text_and_text_of_unknown_type, [postgres, postgres18], |db| {
    let stream = db.stream();
    let statement = stream
        .statement(
            "TYPED",
            &*serde_json::value::RawValue::from_string(r#"{"a":  "b\u0000"}"#.to_owned()).unwrap(),
        )
        .unwrap();
    let mut client = postgres::Client::connect(&db.url, postgres::NoTls).unwrap();
    let [event_type, data] = &statement.params;
    // As this driver does it, by the types that the server says.
    client.execute(&*statement.sql, &[event_type, data]).unwrap();
    // As sqlx, JDBC and Npgsql do it: text, whatever the server would say.
    use postgres::types::Type;
    for types in
        [[Type::TEXT, Type::TEXT], [Type::VARCHAR, Type::VARCHAR], [Type::UNKNOWN, Type::UNKNOWN]]
    {
        let typed = client.prepare_typed(&statement.sql, &types).unwrap();
        client.execute(&typed, &[event_type, data]).unwrap();
    }
    client.batch_execute(&format!("PREPARE x(text, text) AS {}", statement.sql)).unwrap();
    client.batch_execute(&format!("EXECUTE x('{event_type}', '{data}')")).unwrap();
    let texts = crate::write::own_connection::data(&stream);
    assert_eq!(texts.len(), 5);
    assert!(texts.iter().all(|text| text == data), "{texts:?}");
    client.batch_execute("ALTER TABLE evt_queue ALTER data TYPE jsonb USING '1'").unwrap();
    client.batch_execute("DEALLOCATE ALL").unwrap();
    let plain = stream.statement("JSONB", &1).unwrap();
    client.execute(&*plain.sql, &[&plain.params[0], &plain.params[1]]).unwrap();
    client.batch_execute("ALTER TABLE evt_queue ALTER data TYPE text").unwrap();
    client.batch_execute("DEALLOCATE ALL").unwrap();
    client.execute(&*plain.sql, &[&plain.params[0], &plain.params[1]]).unwrap();
});
