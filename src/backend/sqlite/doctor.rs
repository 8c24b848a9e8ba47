//! What the doctor asks of SQLite.

use super::Connection;
use crate::backend::doctor::{Checks, Object, one, texts};
use crate::config::settings::Synchronous;
use crate::config::{Settings, TableName};
use crate::model::check::{Outcome, failure, ok, warning};
use crate::model::error::Result;
use std::path::Path;

impl Connection {
    /// The query for the clock, in seconds since 1970.
    pub fn clock_sql(&self) -> &'static str {
        "SELECT CAST(strftime('%s') AS INTEGER)"
    }

    pub fn examine(&mut self, settings: &Settings, checks: &mut Checks) {
        checks.add("version", self.version());
        checks.add("writable", self.writable());
        checks.add("sequence", self.autoincrement(&settings.event_table));
        checks.add("durability", self.durability(settings));
        checks.add("file_system", self.file_system());
        checks.add("explicit_ids", self.explicit_ids(&settings.event_table));
        checks.add("triggers", self.triggers(&settings.event_table));
        let shared = if settings.allow_foreign_sqlite {
            let seen = "allow_foreign_sqlite=true: another library on the same file is not noticed";
            warning(
                seen,
                "use statement() on the other library's connection, and leave the option out",
            )
        } else {
            ok("no other one has the file open")
        };
        checks.add("sqlite_library", shared);
    }

    fn version(&mut self) -> Outcome {
        ok(format!("SQLite {}", one(self.query("SELECT sqlite_version()", &[])?)?))
    }

    fn writable(&mut self) -> Outcome {
        if self.inner.is_readonly("main")? {
            return failure("the file is read-only", "chmod u+w the file and its folder");
        }
        ok("the file is writable")
    }

    fn autoincrement(&mut self, table: &TableName) -> Outcome {
        let schema = table.schema.as_deref().unwrap_or("main");
        let sql =
            format!("SELECT sql FROM \"{schema}\".sqlite_schema WHERE name = '{}'", table.name);
        let made = one(self.query(&sql, &[])?)?;
        if made.to_ascii_uppercase().contains("AUTOINCREMENT") {
            return ok("the ids are AUTOINCREMENT");
        }
        failure(
            "the ids are not AUTOINCREMENT: those of discarded events would be allocated again",
            "move the events to a table that migrate() makes",
        )
    }

    fn durability(&mut self, settings: &Settings) -> Outcome {
        let mode = one(self.query("PRAGMA journal_mode", &[])?)?;
        match settings.sqlite_synchronous {
            Synchronous::Full => ok(format!("synchronous=FULL, journal_mode={mode}")),
            Synchronous::Normal => warning(
                "synchronous=NORMAL: a crash of the machine loses the last commits",
                "the option sqlite_synchronous=full",
            ),
        }
    }

    fn file_system(&mut self) -> Outcome {
        let file =
            one(self.query("SELECT file FROM pragma_database_list WHERE name = 'main'", &[])?)?;
        if file.is_empty() {
            return ok("in memory");
        }
        let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
            return ok("not known on this system");
        };
        let (mount, kind) = mounted(&mounts, Path::new(&file)).unwrap_or(("/", "unknown"));
        if NETWORK.iter().any(|name| kind == *name || kind.starts_with("fuse.")) {
            return failure(
                format!("{file} is on {kind}, mounted at {mount}"),
                "move the file to a disk of this machine, or use a server database",
            );
        }
        ok(format!("{kind}, mounted at {mount}"))
    }

    fn trigger_names(&mut self, table: &TableName) -> Result<Vec<String>> {
        let schema = table.schema.as_deref().unwrap_or("main");
        let sql = format!(
            "SELECT name FROM \"{schema}\".sqlite_schema WHERE type = 'trigger' \
             AND tbl_name = '{}'",
            table.name
        );
        Ok(texts(self.query(&sql, &[])?).into_iter().flatten().collect())
    }

    fn explicit_ids(&mut self, table: &TableName) -> Outcome {
        match self.trigger_names(table)?.iter().any(|name| name.ends_with("_fes_ids")) {
            true => ok("the database refuses them (a trigger)"),
            false => {
                ok("the database accepts them; migrate with strict_ids=true makes it refuse them")
            }
        }
    }

    fn triggers(&mut self, table: &TableName) -> Outcome {
        let mut names = self.trigger_names(table)?;
        names.retain(|name| !name.contains("fes_"));
        if names.is_empty() {
            return ok("none but those of migrate()");
        }
        warning(names.join(", "), format!("DROP TRIGGER {}, unless it is meant", names[0]))
    }

    /// Who can write the file may do everything.
    pub fn missing(&mut self, _: &Settings, _: &[(&str, Object)]) -> Result<Vec<String>> {
        if self.inner.is_readonly("main")? {
            return Ok(vec!["chmod u+w the file and its folder".to_owned()]);
        }
        Ok(Vec::new())
    }
}

/// File systems whose files other machines can write.
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb",
    "smb2",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ncpfs",
    "ceph",
    "glusterfs",
    "lustre",
    "gpfs",
    "ocfs2",
    "gfs2",
    "vboxsf",
    "vmhgfs",
    "prl_fs",
    "virtiofs",
    "beegfs",
];

/// The mount point and the type of the file system of a file, by the text of `/proc/self/mountinfo`.
fn mounted<'a>(mounts: &'a str, file: &Path) -> Option<(&'a str, &'a str)> {
    let mount = |line: &'a str| {
        let (left, right) = line.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').next()?))
    };
    let under = |(point, _): &(&str, &str)| file.starts_with(point.replace("\\040", " "));
    // Of those that are equally deep the last one is in front.
    mounts.lines().filter_map(mount).filter(under).max_by_key(|(point, _)| point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_file_is_that_of_the_nearest_mount() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:40 / /srv/my\\040data rw,noatime shared:5 - nfs4 host:/x rw\n\
                      31 30 0:41 / /srv rw - tmpfs tmpfs rw\n";
        let kind = |file| mounted(mounts, Path::new(file)).map(|(_, kind)| kind);
        assert_eq!(kind("/srv/my data/app.db"), Some("nfs4"));
        assert_eq!(kind("/srv/app.db"), Some("tmpfs"));
        assert_eq!(kind("/home/app.db"), Some("ext4"));
        assert_eq!(mounted("nonsense", Path::new("/")), None);
    }
}
