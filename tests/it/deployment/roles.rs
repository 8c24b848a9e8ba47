//! The grants of `docs/grants.md`, read from there: with exactly these a role does its work, and
//! without any one of them it is told which one is missing.

use crate::support::Db;
use futoin_eventstream::{
    Archiver, DatabaseKind, Discarder, ErrorKind, EventStream, Lag, NewEvent, Options, Result,
    Want, Warehouse, postgres,
};

const PASSWORD: &str = "fes-Test-1-password";

/// One privilege of a block in the docs, for the role of a test.
#[derive(Clone, Debug)]
struct Grant {
    privilege: String,
    object: String,
    role: String,
}

impl Grant {
    fn give(&self) -> String {
        format!("GRANT {} ON {} TO {}", self.privilege, self.object, self.role)
    }

    fn take(&self) -> String {
        format!("REVOKE {} ON {} FROM {}", self.privilege, self.object, self.role)
    }

    /// What the error for a missing grant must name: the bare name of the table or sequence.
    fn name(&self) -> &str {
        self.object.rsplit([' ', '.']).next().unwrap()
    }
}

/// The blocks under a heading of the database's chapter, one after the other.
fn blocks(db: &Db, heading: &str) -> Vec<String> {
    let docs = std::fs::read_to_string("docs/grants.md").unwrap();
    let chapter = match db.server {
        "postgres" | "postgres18" => "PostgreSQL",
        "mariadb" => "MariaDB",
        _ => "MySQL",
    };
    let chapter = docs.split("\n## ").find(|text| text.starts_with(chapter)).unwrap();
    let wanted = format!("{heading}\n");
    let section = chapter.split("\n### ").find(|text| text.starts_with(&wanted)).unwrap();
    let parts = section.split("```sql\n").skip(1);
    parts.map(|text| text.split("```").next().unwrap().to_owned()).collect()
}

/// A role of its own on the database's server, dropped with this.
struct Role<'a> {
    db: &'a Db,
    /// As SQL writes it.
    role: String,
    url: String,
}

impl<'a> Role<'a> {
    fn new(db: &'a Db, name: &str) -> Role<'a> {
        let name = format!("{}_{name}", db.name);
        let mut raw = db.raw();
        let role = if db.kind == DatabaseKind::Postgres {
            // Nothing but what is granted: not even what everybody has by default.
            raw.exec(&format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", db.name));
            raw.exec("REVOKE ALL ON SCHEMA public FROM PUBLIC");
            raw.exec(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
            name.clone()
        } else {
            raw.exec(&format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'"));
            format!("'{name}'@'%'")
        };
        let url = db.url_with(|url| {
            url.set_username(&name).unwrap();
            url.set_password(Some(PASSWORD)).unwrap();
        });
        Role { db, role, url }
    }

    /// The grants of a block, each with one privilege.
    fn grants(&self, block: &str) -> Vec<Grant> {
        let mut grants = Vec::new();
        for line in block.lines() {
            let (privileges, rest) =
                line.strip_prefix("GRANT ").unwrap().split_once(" ON ").unwrap();
            let object = rest.split_once(" TO ").unwrap().0;
            let object = match object {
                "DATABASE app" => format!("DATABASE {}", self.db.name),
                _ => object.replace("app.", &format!("{}.", self.db.name)),
            };
            grants.extend(privileges.split(", ").map(|privilege| Grant {
                privilege: privilege.to_owned(),
                object: object.clone(),
                role: self.role.clone(),
            }));
        }
        grants
    }

    fn open(&self) -> Result<EventStream> {
        EventStream::open(&self.url)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let mut raw = self.db.raw();
        if self.db.kind == DatabaseKind::Postgres {
            raw.exec(&format!("DROP OWNED BY {}", self.role));
            raw.exec(&format!("DROP ROLE {}", self.role));
        } else {
            raw.exec(&format!("DROP USER {}", self.role));
        }
    }
}

/// The work is done with all grants of the block, and not without any one of them.
fn each_is_needed(role: &Role<'_>, block: &str, work: &dyn Fn(&Role<'_>) -> Result<()>) {
    let mut raw = role.db.raw();
    let grants = role.grants(block);
    grants.iter().for_each(|grant| raw.exec(&grant.give()));
    work(role).unwrap_or_else(|error| panic!("with all grants: {error:?}"));
    for grant in &grants {
        raw.exec(&grant.take());
        let Err(error) = work(role) else { panic!("{grant:?} is not needed") };
        let message = error.to_string();
        if grant.object == "SCHEMA public" {
            assert_eq!(error.kind(), ErrorKind::NotMigrated, "{grant:?}: {message}");
        } else {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{grant:?}: {message}");
            let privilege = grant.privilege.split(' ').next().unwrap();
            // Who has no right at all on a MySQL database cannot even choose it.
            let alone = role.db.kind == DatabaseKind::Mysql && grants.len() == 1;
            let named = message.contains(grant.name()) && message.contains(privilege);
            assert!(named || alone && message.contains(&role.db.name), "{grant:?}: {message}");
        }
        raw.exec(&grant.give());
    }
    work(role).unwrap_or_else(|error| panic!("with all grants again: {error:?}"));
}

fn generate(role: &Role<'_>) -> Result<()> {
    let stream = role.open()?;
    let event = NewEvent::new("USR_ADD", &1)?;
    let first = stream.add(&event)?;
    let more = stream.add_events(&[event.clone(), event.clone()])?;
    let mut tx = stream.begin()?;
    let last = tx.add(&event)?;
    tx.commit()?;
    // The ids are those of the events, also where they may not be read.
    let wanted = [first, more[0], more[1], last].map(|id| id.to_string());
    let sql = "SELECT id FROM evt_queue ORDER BY id DESC LIMIT 4";
    let stored: Vec<String> = role.db.raw().texts(sql).into_iter().rev().collect();
    assert_eq!(stored, wanted);
    Ok(())
}

on_servers!(a_generator, [postgres, postgres18, mariadb, mysql], |db| {
    db.stream().close();
    let role = Role::new(db, "generator");
    let blocks = blocks(db, "Generator");
    each_is_needed(&role, &blocks[0], &generate);
    if db.kind == DatabaseKind::Postgres {
        let stream = role.open().unwrap();
        let add_to = |role: &Role<'_>| -> Result<()> {
            let mut own = postgres::Client::connect(&role.url, postgres::NoTls).unwrap();
            stream.add_event_to(&mut own, "USR_ADD", &1).map(drop)
        };
        each_is_needed(&role, &blocks[1], &add_to);
    }
});

/// Everything a consumer does, also at a gap and while a writer keeps an id open.
fn consume(role: &Role<'_>) -> Result<()> {
    let writer = EventStream::open(&role.db.url).unwrap();
    let rolled_back = || writer.begin()?.add_event("USR_ADD", &0);
    rolled_back().unwrap();
    writer.add_event("USR_ADD", &1).unwrap();
    // Without what a failed attempt left.
    role.db.raw().exec("DELETE FROM evt_consumers");

    let stream = role.open()?;
    let consumer = stream.consumer("app", "Audit")?;
    consumer.register()?;
    while let Some(last) = consumer.poll(None, &Want::all())?.last() {
        consumer.acknowledge(last.id)?;
    }
    let mut open = writer.begin().unwrap();
    let rest = [open.add_event("USR_ADD", &2)?, writer.add_event("USR_ADD", &3)?];
    let want = Want::types(&["USR_ADD"])?;
    assert!(consumer.poll(None, &want)?.is_empty());
    stream.lag()?;
    open.commit().unwrap();
    let events = consumer.poll(None, &want)?;
    assert!(events.iter().map(|event| event.id).eq(rest));
    assert!(consumer.unregister()?);
    Ok(())
}

/// What a consumer is told while a writer keeps an id open, and others keep the table in use.
fn look(role: &Role<'_>) -> Result<Lag> {
    let writer = EventStream::open(&role.db.url).unwrap();
    let mut open = writer.begin().unwrap();
    open.add_event("USR_ADD", &1).unwrap();
    writer.add_event("USR_ADD", &2).unwrap();
    let mut busy = role.db.raw();
    std::thread::scope(|scope| {
        if role.db.kind == DatabaseKind::Mysql {
            let long = scope.spawn(move || busy.exec("SELECT SLEEP(1) FROM evt_queue LIMIT 1"));
            let mut raw = role.db.raw();
            let used = format!(
                "SELECT count(*) FROM information_schema.PROCESSLIST \
                 WHERE DB = '{}' AND STATE LIKE 'User sleep'",
                role.db.name
            );
            while raw.number(&used) == 0 {
                assert!(!long.is_finished());
            }
        }
        role.open()?.lag()
    })
}

on_servers!(a_consumer, [postgres, postgres18, mariadb, mysql], |db| {
    db.stream().close();
    let role = Role::new(db, "consumer");
    let blocks = blocks(db, "Consumer");
    each_is_needed(&role, &blocks[0], &consume);
    let lag = look(&role).unwrap();
    if db.server == "mysql" {
        let why = lag.blocked.expect("no word of what is missing");
        assert!(why.contains("GRANT SELECT ON performance_schema.metadata_locks"), "{why}");
        role.grants(&blocks[1]).iter().for_each(|grant| db.raw().exec(&grant.give()));
        assert_eq!(look(&role).unwrap().blocked, None);
        role.grants(&blocks[2]).iter().for_each(|grant| db.raw().exec(&grant.give()));
    }
    let lag = look(&role).unwrap();
    assert_eq!(lag.blocked, None);
    assert!(!lag.holders.is_empty(), "{lag:?}");
});

on_servers!(an_archiver, [postgres, postgres18, mariadb, mysql], |db| {
    let stream = db.stream();
    let dwh = Db::on(db.server).unwrap();
    Warehouse::open(&dwh.url).unwrap().migrate().unwrap();
    let (active, archive) = (Role::new(db, "archiver"), Role::new(&dwh, "archiver"));
    let run = || -> Result<()> {
        let added = stream.add_event("USR_ADD", &1).unwrap();
        let (stream, warehouse) = (active.open()?, Warehouse::open(&archive.url)?);
        Archiver::new(&stream, &warehouse, &Options::new())?.run_once()?;
        let last = dwh.raw().number("SELECT max(id) FROM evt_history");
        assert_eq!(last as u64, added);
        Ok(())
    };
    let grants = archive.grants(&blocks(db, "Archiver in the warehouse")[0]);
    grants.iter().for_each(|grant| dwh.raw().exec(&grant.give()));
    // It registers once: without INSERT it must be new.
    let fresh = |_: &Role<'_>| {
        db.raw().exec("DELETE FROM evt_consumers");
        dwh.raw().exec("DELETE FROM evt_history");
        run()
    };
    each_is_needed(&active, &blocks(db, "Archiver")[0], &fresh);
    each_is_needed(&archive, &blocks(db, "Archiver in the warehouse")[0], &|_| run());
});

on_servers!(a_discarder, [postgres, postgres18, mariadb, mysql], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let role = Role::new(db, "discarder");
    let discard = |role: &Role<'_>| -> Result<()> {
        let added = stream.add_events(&vec![NewEvent::new("A", &1)?; 3]).unwrap();
        consumer.acknowledge(added[2]).unwrap();
        let discarder = Discarder::new(&role.open()?, &Options::new())?;
        assert!(discarder.run_once()? >= 2);
        Ok(())
    };
    each_is_needed(&role, &blocks(db, "Discarder")[0], &discard);
});

on_servers!(no_role_may_change_the_schema, [postgres, postgres18, mariadb, mysql], |db| {
    db.stream().close();
    let role = Role::new(db, "consumer");
    let mut raw = db.raw();
    let grants = role.grants(&blocks(db, "Consumer")[0]);
    grants.iter().for_each(|grant| raw.exec(&grant.give()));
    raw.exec("DROP TABLE evt_schema");
    let error = role.open().unwrap().migrate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
});
