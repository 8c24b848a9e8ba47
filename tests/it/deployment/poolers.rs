//! PgBouncer between the library and PostgreSQL, in session mode and in transaction mode: what works,
//! what is refused, and that nothing is lost through either of them.

use crate::support::spare::Spare;
use crate::support::stress::{End, Plan, TYPES, Writers};
use crate::support::{Db, everything, failure, variable};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, Options, ReceiverOptions, ReliableReceiver, Value,
    Want, Warehouse,
};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// A new database, and its URL through a PgBouncer of this mode.
fn through(mode: &str) -> Option<(Db, String)> {
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let db = Db::on("postgres")?;
    let admin = variable("FES_TEST_POSTGRES_URL")?;
    let pooler = Spare::bouncer_before(&admin, mode, &[&format!("pool_mode = {mode}")])?;
    let port = url::Url::parse(&pooler.url).unwrap().port();
    let url = db.url_with(|url| url.set_port(port).unwrap());
    Some((db, url))
}

fn transaction_mode() -> Options {
    Options::new().set("pooler", "transaction").unwrap()
}

/// Everything that a stream can do, once.
fn everything_works(db: &Db, url: &str, options: &Options) {
    let stream = EventStream::open_with(url, options).unwrap();
    stream.migrate().unwrap();
    stream.migrate().unwrap();
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    let first = stream.add_event("ONE", &"a").unwrap();
    let many: Vec<_> =
        (0..5).map(|n| futoin_eventstream::NewEvent::new("MANY", &n).unwrap()).collect();
    stream.add_events(&many).unwrap();
    let mut transaction = stream.begin().unwrap();
    transaction.execute("CREATE TABLE users(name varchar(50), n bigint)", &[]).unwrap();
    let row = [Value::Text("Ann".to_owned()), Value::Int(7)];
    transaction.execute("INSERT INTO users(name, n) VALUES ($1, $2)", &row).unwrap();
    transaction.add_event("INSIDE", &1).unwrap();
    let rows = transaction.query("SELECT n FROM users WHERE name = $1", &row[..1]).unwrap();
    assert_eq!(rows, [[Value::Int(7)]]);
    transaction.commit().unwrap();
    let mut undone = stream.begin().unwrap();
    undone.add_event("UNDONE", &1).unwrap();
    undone.rollback().unwrap();
    let last = stream.add_event("LAST", &1).unwrap();
    let events = audit.poll(None, &Want::all()).unwrap();
    assert_eq!((events.len(), events[0].id), (8, first));
    let one = stream.consumer("app", "Types").unwrap();
    one.register().unwrap();
    assert_eq!(one.poll(None, &Want::types(&["ONE", "LAST"]).unwrap()).unwrap().len(), 2);
    audit.acknowledge(last).unwrap();
    one.acknowledge(last).unwrap();
    assert_eq!(stream.lag().unwrap().consumers.len(), 2);
    assert_eq!(everything(&stream).len(), 8);
    let history = Warehouse::open_with(url, options).unwrap();
    history.migrate().unwrap();
    assert_eq!(Archiver::new(&stream, &history, &Options::new()).unwrap().run_once().unwrap(), 8);
    assert_eq!(Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap(), 7);
    assert_eq!(history.history(0, &Want::all(), 100).unwrap().len(), 8);
    receivers_take_turns(&stream);
    assert!(one.unregister().unwrap());
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_history"), 8);
}

/// A receiver gets events; beside it there is no second one, until it ends.
fn receivers_take_turns(stream: &EventStream) {
    let subscribe = || stream.subscribe("app", "Audit", Want::all(), &Options::new());
    let other = EventStream::clone(stream);
    let first = subscribe().unwrap();
    assert_eq!(failure(subscribe().map(|_| ())), ErrorKind::Occupied);
    drop(first);
    let (sender, received) = channel();
    let receiver =
        ReliableReceiver::new(&other, "app", "Audit", ReceiverOptions::new(), move |delivery| {
            delivery.events.iter().try_for_each(|event| sender.send(event.id)).map_err(Into::into)
        })
        .unwrap();
    receiver.start().unwrap();
    let ids: Vec<_> = (0..20).map(|n| stream.add_event("PUSHED", &n).unwrap()).collect();
    let got: Vec<_> =
        ids.iter().map(|_| received.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
    assert_eq!(got, ids);
    receiver.stop();
}

#[test]
fn everything_works_through_a_pooler_in_session_mode() {
    if let Some((db, url)) = through("session") {
        everything_works(&db, &url, &Options::new());
    }
}

#[test]
fn everything_works_through_a_pooler_in_transaction_mode_with_the_option() {
    if let Some((db, url)) = through("transaction") {
        everything_works(&db, &url, &transaction_mode());
    }
}

#[test]
fn a_pooler_in_transaction_mode_is_refused_without_the_option() {
    let Some((db, url)) = through("transaction") else { return };
    db.stream().consumer("app", "Audit").unwrap().register().unwrap();
    let refused = |error: futoin_eventstream::Error| {
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
        assert!(error.to_string().contains("pooler=transaction"), "{error}");
    };
    let one = EventStream::open(&url);
    let two = EventStream::open(&url);
    let subscribed = match (one, two) {
        (Ok(one), Ok(two)) => {
            let first = one.subscribe("app", "Audit", Want::all(), &Options::new());
            let second = two.subscribe("app", "Audit", Want::all(), &Options::new());
            assert!(first.is_err() || second.is_err(), "two receivers of one consumer");
            first.and(second).map(|_| ())
        }
        (one, two) => one.and(two).map(|_| ()),
    };
    refused(subscribed.unwrap_err());
    let notify = transaction_mode().set("notify", "true").unwrap();
    let error = EventStream::open_with(&url, &notify).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

#[test]
fn two_streams_share_out_the_lease_that_is_a_row() {
    let Some((db, url)) = through("transaction") else { return };
    let open = || EventStream::open_with(&url, &transaction_mode()).unwrap();
    let (one, two) = (open(), open());
    one.migrate().unwrap();
    one.consumer("app", "Audit").unwrap().register().unwrap();
    let subscribe =
        |stream: &EventStream| stream.subscribe("app", "Audit", Want::all(), &Options::new());
    let first = subscribe(&one).unwrap();
    for _ in 0..20 {
        assert_eq!(failure(subscribe(&two).map(|_| ())), ErrorKind::Occupied);
    }
    first.close().unwrap();
    let second = subscribe(&two).unwrap();
    // An owner that was stopped for too long finds that the lease is somebody else's.
    db.raw().exec("UPDATE evt_leases SET ends = ends - interval '1 hour'");
    let third = subscribe(&one).unwrap();
    thread::sleep(Duration::from_millis(3100));
    assert_eq!(failure(second.next(Duration::ZERO)), ErrorKind::Occupied);
    drop(third);
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_leases"), 0);
}

/// Writers without the pooler, and consumers through it.
fn stress(mode: &str, options: &Options) {
    let Some((db, url)) = through(mode) else { return };
    db.stream();
    let stream = EventStream::open_with(&url, options).unwrap();
    stream.migrate().unwrap();
    let all = stream.consumer("app", "All").unwrap();
    all.register().unwrap();
    let end = End::default();
    let plan = Plan::new(5);
    let ledger = thread::scope(|scope| {
        let writers = Writers::start(&db, plan);
        let follower = scope.spawn(|| {
            end.follow(&TYPES, |ledger| all.poll(ledger.last_id(), &Want::all()).unwrap())
        });
        end.announce(writers.finish());
        follower.join().unwrap()
    });
    let report = end.truth().unwrap().check(&ledger, &TYPES);
    println!("{mode}, seed {}: {report}", plan.seed);
    assert!(report.delivered > 100);
    report.must_be_clean(mode);
}

#[test]
fn nothing_is_lost_through_a_pooler_in_session_mode() {
    stress("session", &Options::new());
}

#[test]
fn nothing_is_lost_through_a_pooler_in_transaction_mode() {
    stress("transaction", &transaction_mode());
}

/// Behind a pooler in transaction mode no session has `row_security = off`: it is asked for.
#[test]
fn hidden_rows_are_an_error_through_a_pooler_in_transaction_mode() {
    let Some((db, url)) = through("transaction") else { return };
    let stream = EventStream::open_with(&url, &transaction_mode()).unwrap();
    stream.migrate().unwrap();
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    let role = format!("{}_limited", db.name);
    let mut raw = db.raw();
    raw.exec(&format!("CREATE ROLE {role} NOLOGIN"));
    raw.exec(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"));
    raw.exec(&format!("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"));
    // The pooler logs in as the administrator, who is that role in this database.
    raw.exec(&format!("ALTER DATABASE {} SET role = '{role}'", db.name));
    raw.exec("ALTER TABLE evt_queue ENABLE ROW LEVEL SECURITY");
    raw.exec("CREATE POLICY visible_only ON evt_queue USING (type = 'VISIBLE')");
    raw.exec("INSERT INTO evt_queue(type, data, ts) VALUES ('HIDDEN', '1', now()), ('VISIBLE', '2', now())");
    drop((audit, stream));
    raw.exec(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    let limited = EventStream::open_with(&url, &transaction_mode()).unwrap();
    let audit = limited.consumer("app", "Audit").unwrap();
    let error = audit.poll(None, &Want::all()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let text = error.to_string();
    assert!(text.contains(&role) && text.contains("visible_only"), "{text}");
    drop((audit, limited));
    raw.exec(&format!("DROP OWNED BY {role}"));
    raw.exec(&format!("ALTER DATABASE {} RESET role", db.name));
    raw.exec(&format!("DROP ROLE {role}"));
}
