//! Exit codes, help, and what is shown of a text.

use super::*;

#[test]
fn wrong_arguments_end_with_code_2() {
    let db = stream_of(0);
    for args in [
        &[][..],
        &["nonsense"],
        &["add"],
        &["add", "A", "1", "--jsonl"],
        &["poll", "--limit", "0"],
        &["poll", "--last-id", "-1"],
        &["poll", "--last-id", "1000000000000000000"],
        &["poll", "--user", "app"],
        &["poll", "--ack"],
        &["poll", "--want", "lower"],
        &["poll", "--user", "a b", "--component", "C"],
        &["poll", "--user", "a", "--component", "no-dash"],
        &["register", "--user", "a", "--component", "C", "--at", "soon"],
        &["lag", "--interval", "3"],
        &["history"],
        &["run"],
        &["--option", "nonsense=1", "lag"],
        &["--option", "nonsense", "lag"],
        &["completions", "nonsense"],
    ] {
        let (code, text) = failed(on(&db, args));
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(!text.is_empty() && !text.contains("panicked"), "{args:?}: {text}");
    }
    let mut nowhere = fes();
    nowhere.arg("lag");
    let (code, text) = failed(nowhere);
    assert_eq!(code, 2);
    assert!(text.contains("--db"), "{text}");
}

#[test]
fn errors_are_told_apart_by_their_code() {
    let db = Db::on("sqlite").unwrap();
    let (code, text) = failed(on(&db, &["poll"]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("fes migrate"), "{text}");
    output(&db, &["migrate"]);
    let audit = ["--user", "app", "--component", "Audit"];
    for command in ["poll", "tail"] {
        let (code, text) = failed(on(&db, &[&[command], &audit[..]].concat()));
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("fes register"), "{text}");
    }
    assert_eq!(failed(on(&db, &["add", "A", "{"])).0, 1);
    let mut away = fes();
    away.args(["--db", "postgres://u@127.0.0.1:1/d", "lag"]);
    assert_eq!(failed(away).0, 3);

    let running = Running::start(on(&db, &[&["tail", "--register"], &audit[..]].concat()));
    output(&db, &["add", "A"]);
    running.line();
    let (code, text) = failed(on(&db, &[&["tail"], &audit[..]].concat()));
    assert_eq!(code, 3, "{text}");
}

#[test]
fn the_database_may_come_from_the_environment_or_a_file() {
    let db = stream_of(2);
    let mut command = fes();
    command.args(["poll"]).env("DB_EVT_TYPE", "sqlite").env("DB_EVT_DB", db.path());
    assert_eq!(String::from_utf8(command.output().unwrap().stdout).unwrap().lines().count(), 2);
    let file = db.path().with_file_name("url");
    std::fs::write(&file, format!("\n{}\n", db.url)).unwrap();
    let mut command = fes();
    command.args(["poll", "--db-file"]).arg(&file);
    assert_eq!(String::from_utf8(command.output().unwrap().stdout).unwrap().lines().count(), 2);
    let mut command = fes();
    command.args(["poll", "--db-file", "/nowhere"]);
    assert_eq!(failed(command).0, 1);
    let table = ["--option", "event_table=other", "poll"];
    assert!(failed(on(&db, &table)).1.contains("NotMigrated"));
}

#[test]
fn a_password_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let secret = "geheim@/x";
    for url in [
        format!("postgres://joe:{secret}@127.0.0.1:1/d"),
        "mysql://joe:geheim@127.0.0.1:1/d".to_owned(),
        "mysql://joe:a geheim @ word@127.0.0.1:1/d".to_owned(),
        "postgres://joe:geheim@127.0.0.1:1/d?sslmode=maybe".to_owned(),
        "postgres://joe:geheim@127.0.0.1:99999/d".to_owned(),
        "http://joe:geheim@h/d".to_owned(),
        "postgres://joe:geheim@h".to_owned(),
    ] {
        std::fs::write(&file, &url).unwrap();
        let path = file.to_str().unwrap();
        for args in [
            &["--db", &url, "lag"][..],
            &["--db", &url, "add", "A"],
            &["--db", &url, "run", "--discard"],
            &["--db-file", path, "tail"],
            &["--db-file", &url, "tail"],
            &["--dwh", &url, "history"],
            &["--dwh-file", path, "history"],
            &[&url, "lag"],
            &["lag", &url],
            &["--option", &url, "lag"],
        ] {
            let mut command = fes();
            command.args(args).env("RUST_BACKTRACE", "1");
            let child = command.spawn().unwrap();
            if args.contains(&"run") {
                // A server that is not there is waited for.
                std::thread::sleep(Duration::from_millis(500));
                let _ = Command::new("kill").arg(child.id().to_string()).status().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            assert!(!output.status.success() || args.contains(&"run"), "{args:?}");
            let text = error_text(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(!text.is_empty(), "{args:?}");
            assert!(!text.contains("geheim"), "{args:?}: {text}");
        }
    }
    let mut command = fes();
    command.arg("lag").env("DB_EVT_TYPE", "postgresql").env("DB_EVT_HOST", "127.0.0.1");
    command.env("DB_EVT_PORT", "1").env("DB_EVT_DB", "d").env("DB_EVT_PASS", "geheim");
    let (code, text) = failed(command);
    assert_eq!(code, 3);
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn the_help_names_the_exit_codes_and_every_command_has_one() {
    let mut command = fes();
    let help = String::from_utf8(command.arg("--help").output().unwrap().stdout).unwrap();
    assert!(help.contains("130"), "{help}");
    let documented = include_str!("../../../../docs/cli.md");
    for name in COMMANDS {
        assert!(help.contains(&format!("\n  {name}")), "{name}");
        assert!(documented.contains(&format!("fes {name}")), "{name} is not in docs/cli.md");
        assert!(fes().args([name, "--help"]).output().unwrap().status.success());
    }
}

const COMMANDS: &[&str] = &[
    "migrate",
    "add",
    "poll",
    "tail",
    "register",
    "unregister",
    "consumers",
    "lag",
    "metrics",
    "archive",
    "discard",
    "history",
    "export",
    "run",
    "completions",
    "man",
];

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = fes().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("unregister"), "{shell}");
    }
    let output = fes().arg("man").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(".SH"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(fes().args(["man", "--dir"]).arg(&pages).output().unwrap().status.success());
    for name in COMMANDS {
        assert!(pages.join(format!("fes-{name}.1")).exists(), "{name}");
    }
}

#[test]
fn what_a_terminal_would_act_on_is_not_written_to_people() {
    let db = stream_of(0);
    let insert = "INSERT INTO evt_queue(type, data, ts) \
                  VALUES ('A' || char(27) || '[2J', '\"' || char(155) || '\"', datetime('now'))";
    db.raw().exec(insert);
    db.raw().exec("INSERT INTO evt_queue(type, data, ts) VALUES ('B', 'no json', datetime('now'))");
    let text = output(&db, &["poll"]);
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    assert_eq!(text.lines().count(), 2);
    assert_eq!(documents(&db, &["export"])[1]["invalid_data"], "no json");
}

/// What is written of arguments: in both streams, without the line ends.
fn shown(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap().replace('\n', " ")
}

#[test]
fn arguments_are_shown_and_not_acted_on() {
    let db = stream_of(0);
    for bad in ["\u{1b}[2J", "\u{1b}]0;x\u{7}", "\u{9b}2J", "\u{202e}x"] {
        let escaped = bad.chars().next().unwrap().escape_unicode().to_string();
        let (option, other) = (format!("{bad}=1"), format!("--{bad}"));
        for args in [
            &[bad][..],
            &[&other],
            &["add", bad],
            &["add", "A", bad],
            &["completions", bad],
            &["poll", "--want", bad],
            &["poll", "--user", bad, "--component", "C"],
            &["register", "--user", "a", "--component", bad],
            &["register", "--user", "a", "--component", "C", "--at", bad],
            &["lag", "--option", &option],
            &["history", "--dwh-file", bad],
        ] {
            let text = shown(on(&db, &[]).args(args));
            let acts = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!text.contains(acts) && text.contains(&escaped), "{args:?}: {text:?}");
        }
    }
}

#[test]
fn only_who_makes_tables_makes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let (db, dwh) = (url("mistyped.db"), url("mistyped_too.db"));
    let audit = ["--user", "app", "--component", "Audit"];
    for args in [
        &["poll"][..],
        &["tail"],
        &["lag"],
        &["consumers"],
        &["metrics"],
        &["add", "A"],
        &["export"],
        &["verify"],
        &["discard"],
        &[&["register"], &audit[..]].concat(),
        &[&["skip"], &audit[..]].concat(),
        &["--dwh", &dwh, "history"],
        &["--dwh", &dwh, "archive"],
    ] {
        let (code, text) = failed(on_url(&db, args));
        assert_eq!(code, 1, "{args:?}: {text}");
        assert!(text.contains("mistyped") && text.contains("fes migrate"), "{args:?}: {text}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{args:?}");
    }
    assert!(on_url(&db, &["migrate"]).status().unwrap().success());
    assert!(on_url(&db, &["poll"]).status().unwrap().success());
    assert!(on_url(&dwh, &["--option", "create=true", "lag"]).output().is_ok());
    assert!(folder.path().join("mistyped_too.db").exists());
}

fn on_url(url: &str, args: &[&str]) -> Command {
    let mut command = fes();
    command.args(["--db", url]).args(args);
    command
}
