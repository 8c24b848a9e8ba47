//! Whether what the sessions of a [`Watch`] see is what happens on the server that is written to.
//!
//! Looks are worth nothing behind a proxy that sends them elsewhere than writes, or on a server that
//! speaks the protocol but shows no one who uses a table. So one session does in a transaction what
//! a writer does, as far as the grants of a consumer go, and both are asked whether they see it:
//!
//! - that session has the event table open (HANDLER, for which SELECT is enough), so the statement
//!   that shows tables in use must show it;
//! - it holds a named lock, which both sessions must find taken, also outside of the transaction.

use super::Watch;
use crate::model::error::{ErrorKind, Result, fail};
use mysql::prelude::Queryable;
use std::hash::{BuildHasher, RandomState};

impl Watch {
    /// Refuses servers and proxies that do not show the session itself.
    pub(super) fn check_evidence(&mut self) -> Result<()> {
        // Of no other session, here or on another server.
        let lock = format!("feslook_{:016x}", RandomState::new().hash_one(0));
        self.reader.driver().query_drop("START TRANSACTION")?;
        let seen = self.is_seen(&lock);
        let ended = self.reader.driver().query_drop("ROLLBACK");
        let seen = seen?;
        ended?;
        let still = holds(self.reader.driver(), &lock)?;
        self.reader.driver().query_drop("DO RELEASE_ALL_LOCKS()")?;
        if let Some(wrong) = seen {
            fail!(UnsafeServer, "{wrong}. {REMEDY}");
        }
        if !still {
            fail!(
                UnsafeServer,
                "what is read outside of a transaction comes from another server than what is \
                 written: a proxy splits reads and writes. {REMEDY}"
            );
        }
        Ok(())
    }

    /// What is wrong with how the other session sees a transaction of this one.
    fn is_seen(&mut self, lock: &str) -> Result<Option<String>> {
        let write = self.no_write.clone();
        match self.reader.driver().query_drop(write).map_err(crate::model::error::Error::from) {
            // LIVE consumers have no right to it, and no cursors to lose.
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotMigrated) => {
            }
            result => result?,
        }
        let taken: Option<Option<u8>> =
            self.reader.driver().exec_first("SELECT GET_LOCK(?, 0)", (lock,))?;
        if taken.flatten() != Some(1) {
            return Ok(Some("the server gives no named locks".to_owned()));
        }
        if let Err(why) = self.reader.driver().query_drop(&self.open) {
            let why = crate::model::error::Error::from(why);
            if why.ends_connection() {
                return Err(why);
            }
            return Ok(Some(format!(
                "the server is not a MySQL or MariaDB that keeps tables open ({why})"
            )));
        }
        let idle = self.is_idle();
        self.reader.driver().query_drop("HANDLER fes_look CLOSE")?;
        if idle? {
            return Ok(Some(
                "the server does not show that a table is in use: it is not a MySQL or MariaDB, or \
                 a proxy sends reads to another server"
                    .to_owned(),
            ));
        }
        let elsewhere = !holds(self.looker.driver(), lock)?;
        Ok(elsewhere.then(|| {
            "what is read comes from another server than what is written: a proxy splits reads and \
             writes"
                .to_owned()
        }))
    }
}

const REMEDY: &str = "Who writes events at this moment cannot be seen, and events would be lost: \
    connect to the server that is written to";

/// Whether the session sees that somebody has the lock.
fn holds(driver: &mut mysql::Conn, lock: &str) -> Result<bool> {
    let user: Option<Option<u64>> = driver.exec_first("SELECT IS_USED_LOCK(?)", (lock,))?;
    Ok(user.flatten().is_some())
}
