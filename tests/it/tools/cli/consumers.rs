//! Filters, consumers, `lag` and `metrics`.

use super::*;

#[test]
fn only_wanted_types_come_and_live_reads_from_where_it_is_told() {
    let db = stream_of(3);
    output(&db, &["add", "OTHER", "7"]);
    assert_eq!(ids(&documents(&db, &["poll", "--want", "OTHER,NONE"])), ["4"]);
    assert_eq!(ids(&documents(&db, &["poll", "--last-id", "2", "--limit", "1"])), ["3"]);
    assert_eq!(ids(&documents(&db, &["export", "--from", "3", "--want", "COUNTED"])), ["3"]);
    assert!(documents(&db, &["export", "--from", "100"]).is_empty());
}

#[test]
fn consumers_are_registered_listed_and_removed() {
    let db = stream_of(3);
    let name = ["--user", "app", "--component", "Audit"];
    for _ in 0..2 {
        let done = document(&db, &[&["register", "--at", "3"], &name[..]].concat());
        assert_eq!(done["ident"], "app:Audit");
    }
    let list = document(&db, &["consumers"]);
    assert_eq!(list[0]["last_id"], "2");
    assert!(output(&db, &["consumers"]).contains("app:Audit"));
    assert_eq!(document(&db, &["add", "NOTHING"])["id"], "4");
    assert_eq!(ids(&documents(&db, &[&["poll"], &name[..]].concat())), ["3", "4"]);
    let unregister = [&["unregister"], &name[..]].concat();
    assert_eq!(document(&db, &unregister)["was_registered"], true);
    assert_eq!(document(&db, &unregister)["was_registered"], false);
    assert_eq!(document(&db, &["consumers"]), serde_json::json!([]));
    for (at, behind) in [("beginning", 4), ("now", 0), ("2001-01-01T00:00:00Z", 4)] {
        output(&db, &[&["register", "--at", at], &name[..]].concat());
        assert_eq!(document(&db, &["lag"])["consumers"][0]["events_behind"], behind, "{at}");
        output(&db, &unregister);
    }
}

on_servers!(who_holds_the_stream_up_is_named, [postgres, postgres18], |db| {
    output(db, &["migrate"]);
    output(db, &["add", "BEFORE"]);
    let mut held = db.raw();
    held.exec("SET application_name = 'night batch'");
    held.exec("BEGIN");
    held.exec(&db.insert_sql("HELD"));
    output(db, &["add", "BEHIND"]);
    let lag = document(db, &["lag"]);
    assert_eq!(lag["first_unsettled"], "2");
    assert!(output(db, &["lag"]).contains("night batch"));
    assert!(output(db, &["metrics"]).contains("\nevt_unsettled_id 2\n"));
    assert!(output(db, &["metrics"]).contains("\nevt_holders 1\n"));
    let export = on(db, &["export"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&export.stdout).lines().count(), 1);
    assert!(error_text(&export).contains("from id 2 on"), "{}", error_text(&export));
    held.exec("COMMIT");
    assert_eq!(documents(db, &["export"]).len(), 3);
});

#[test]
fn tables_are_aligned() {
    let db = stream_of(12);
    for component in ["A", "LongerName"] {
        output(&db, &["register", "--user", "app", "--component", component]);
    }
    let text = output(&db, &["lag"]);
    let ends = |word: &str| -> Vec<usize> {
        let lines = text.lines().filter(|line| line.contains(word));
        lines.map(|line| line.find(word).unwrap() + word.len()).collect()
    };
    assert_eq!(ends("EVENTS BEHIND")[0], ends(" 12 ")[0] - 1, "{text}");
    assert_eq!(ends(" 12 ").len(), 2, "{text}");
}

#[test]
fn metrics_are_prometheus_text() {
    let db = stream_of(5);
    output(&db, &["register", "--user", "app", "--component", "Audit"]);
    let text = output(&db, &["metrics"]);
    assert!(text.contains("\nevt_ids_total 5\n"), "{text}");
    assert!(text.contains("evt_consumer_behind_events{consumer=\"app:Audit\"} 5\n"), "{text}");
    let mut help = 0;
    for line in text.lines() {
        if line.starts_with("# HELP evt_") {
            help += 1;
        } else if !line.starts_with("# TYPE evt_") {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("evt_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(help, text.matches("# TYPE").count());
    let documented = include_str!("../../../../docs/cli.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap();
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/cli.md");
    }
}
