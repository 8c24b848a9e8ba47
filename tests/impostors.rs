//! Servers that only look like PostgreSQL: they do not show who is writing.

mod support;

use futoin_eventstream::{ErrorKind, Want};

// What such a server shows is made in a database of the test's own, where the system's view is replaced.
on_servers!(a_server_that_shows_no_locks_is_refused, [postgres, postgres18], |db| {
    let stream = db.stream();
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    let first = stream.add_event("EVENT", &1).unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 1);
    let mut admin = db.raw();
    let definition =
        admin.texts("SELECT pg_get_viewdef('pg_catalog.pg_locks'::regclass)").remove(0);
    let definition = definition.trim_end().trim_end_matches(';');
    admin.exec("SET allow_system_table_mods = on");
    admin.exec(&format!(
        "CREATE OR REPLACE VIEW pg_catalog.pg_locks AS SELECT * FROM ({definition}) AS l WHERE false"
    ));
    // Ids that follow each other are settled whoever writes; behind a gap somebody may be writing.
    let mut undone = stream.begin().unwrap();
    undone.add_event("UNDONE", &2).unwrap();
    undone.rollback().unwrap();
    stream.add_event("EVENT", &3).unwrap();
    for _ in 0..3 {
        let error = audit.poll(Some(first), &Want::all()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
        assert!(error.to_string().contains("pg_locks"), "{error}");
    }
    admin.exec(&format!("CREATE OR REPLACE VIEW pg_catalog.pg_locks AS {definition}"));
    assert_eq!(audit.poll(Some(first), &Want::all()).unwrap().len(), 1);
});

// Neither is a view of the same name before the system's in the search path believed.
on_servers!(a_view_in_place_of_the_locks_is_not_asked, [postgres, postgres18], |db| {
    db.stream().consumer("app", "Audit").unwrap().register().unwrap();
    let mut admin = db.raw();
    admin.exec("CREATE SCHEMA fake");
    admin.exec("CREATE VIEW fake.pg_locks AS SELECT * FROM pg_catalog.pg_locks WHERE false");
    let path = format!("ALTER DATABASE {} SET search_path = fake, public, pg_catalog", db.name);
    admin.exec(&path);
    let stream = db.stream();
    let mut writer = stream.begin().unwrap();
    writer.add_event("LATE", &1).unwrap();
    stream.add_event("EARLY", &2).unwrap();
    let audit = stream.consumer("app", "Audit").unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 0, "the writer is not seen");
    writer.commit().unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 2);
});
