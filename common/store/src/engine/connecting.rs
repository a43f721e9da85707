//! How connections come to be: pools, what each connection is told first, when one that stood idle is asked whether it
//! still writes, and why there is none.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use latchkey_domain::Clock;
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, any::AnyPoolOptions,
};

use super::{Meaning, millis};
use crate::{Result, StoreError};

/// How long a write waits for another process's lock on the file (SQLite) or the row (PostgreSQL).
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a caller waits for a connection before it is told that the store is overloaded.
const ACQUIRE_WAIT: Duration = Duration::from_secs(30);
/// A session of PostgreSQL that was idle for this long is asked whether it still writes before it is used. One that is
/// in use says so by itself: its statements fail.
const IDLE: Duration = Duration::from_millis(500);
/// For how long every session is asked, after one failed in a way that others may share.
const DOUBTED: Duration = Duration::from_secs(60);
/// Pages of the log (4 KiB each) at which a commit does that itself. The log begins anew only where a commit finds all
/// of it moved, so that it grows while there is no pause: to 64 MiB, most of them moved by then.
const CHECKPOINT_PAGES: u32 = 16_384;
/// What the sessions for groups of writes on PostgreSQL are told besides. Their statements find rows by their keys, one by
/// one, however many there are: planned once, and never by what a table held in that moment. A session that made its plans
/// while a table was empty would read all of it for each claim until the table is analyzed, and one that plans each
/// time takes as long for that as for the rest (both measured).
pub(super) const KEYED: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
                     SET enable_mergejoin = off; SET jit = off;";
/// Page cache of SQLite's writer, in KiB. It holds what a group of 500 claims touches in a table of a million grants
/// (a leaf of the table and one of its key for each) and the inner pages above; the usual 2 MiB do not. Readers keep
/// those: what they cached is old after the next commit.
const WRITE_CACHE_KIB: u32 = 8192;

/// Until when every session is asked whether it still writes: after a failover none that is in use can be trusted, and
/// one that fails goes back to the pool like any other.
#[derive(Clone, Debug)]
pub(crate) struct Doubts {
    clock: Arc<dyn Clock>,
    until: Arc<AtomicU64>,
}

impl Doubts {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let until = Arc::default();
        Self { clock, until }
    }

    fn are_there(&self) -> bool {
        millis(self.clock.monotonic()) < self.until.load(Ordering::Relaxed)
    }

    /// Takes in an error: one of the server or the way to it raises doubts.
    pub(crate) fn heed(&self, error: &StoreError) {
        if matches!(error.meaning(), Meaning::ReadOnly | Meaning::Cut) {
            let until = self.clock.monotonic() + DOUBTED;
            self.until.store(millis(until), Ordering::Relaxed);
        }
    }
}

pub(super) async fn connect(
    url: &str,
    connections: u32,
    setup: String,
    doubts: Doubts,
) -> Result<AnyPool> {
    let is_file = url.starts_with("sqlite:");
    let options = if is_file {
        // All of them at once, for as long as the process lives: a file does not hang up, and one that is opened has the
        // whole schema to read before its first statement, which that would wait for.
        AnyPoolOptions::new()
            .min_connections(connections)
            .idle_timeout(None)
            .max_lifetime(None)
    } else {
        AnyPoolOptions::new()
    };
    options
        .max_connections(connections.max(1))
        .acquire_timeout(ACQUIRE_WAIT)
        // Instead of the pool's own test, at the same price.
        .test_before_acquire(false)
        .before_acquire(move |connection, session| {
            let is_asked = session.idle_for >= IDLE || doubts.are_there();
            Box::pin(async move {
                // A file does not hang up, and does not become a standby. But SQLite ends a transaction by
                // itself when its disk is full; sqlx cannot roll it back then, and counts it as open for good.
                Ok(if is_file {
                    !connection.is_in_transaction()
                } else if is_asked {
                    may_still_write(connection).await
                } else {
                    true
                })
            })
        })
        .after_connect(move |connection, _| {
            let setup = AssertSqlSafe(setup.clone());
            Box::pin(async move { connection.execute(sqlx::raw_sql(setup)).await.map(drop) })
        })
        .connect(url)
        .await
        .map_err(|source| cannot_open(url, source))
}

/// Whether a session that was idle is alive and still writes: after a failover the one to the old primary may
/// be neither. The pool replaces a session that does not.
async fn may_still_write(connection: &mut AnyConnection) -> bool {
    let read_only =
        sqlx::query_scalar::<_, String>("SELECT current_setting('transaction_read_only')")
            .fetch_one(connection)
            .await;
    read_only.is_ok_and(|state| state == "off")
}

pub(super) async fn try_once(url: &str, setup: String) -> Result<()> {
    let opened = async {
        let mut connection = AnyConnection::connect(url).await?;
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(setup)))
            .await?;
        connection.close().await
    };
    opened.await.map_err(|source| cannot_open(url, source))
}

fn cannot_open(url: &str, source: sqlx::Error) -> StoreError {
    match StoreError::from(source) {
        StoreError::Sql(source) => StoreError::Open {
            place: without_password(url),
            source,
        },
        known => known,
    }
}

/// Tells a file that may not be written, or lies on a read-only mount, from one that is broken: SQLite says
/// "unable to open" to both, because it cannot make the files beside it. A file that is not there is left to
/// SQLite.
pub(super) fn may_write(url: &str) -> Result<()> {
    let path = url.trim_start_matches("sqlite://");
    let path = path.split('?').next().unwrap_or(path);
    match std::fs::OpenOptions::new().write(true).open(path) {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Err(StoreError::ReadOnly {
                source: std::sync::Arc::new(sqlx::Error::Io(error)),
            })
        }
        _ => Ok(()),
    }
}

/// What a SQLite connection is told first. `synchronous = FULL`: a power cut must not roll back a rotation.
pub(super) fn sqlite_setup(read_only: bool) -> String {
    let common = format!(
        "PRAGMA busy_timeout = {}; PRAGMA foreign_keys = ON;",
        LOCK_WAIT.as_millis()
    );
    if read_only {
        return format!("{common} PRAGMA query_only = ON;");
    }
    format!(
        "{common} PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA cache_size = -{WRITE_CACHE_KIB};"
    )
}

/// What a PostgreSQL session is told first. A session whose client vanished in a transaction must not hold
/// its rows for long. One that cannot write (a standby, or a server that was made read-only) is refused as a
/// write there would be, so that the pool goes on looking for one that can.
pub(super) fn postgres_setup() -> String {
    let wait = LOCK_WAIT.as_millis();
    format!(
        "SET lock_timeout = {wait}; SET idle_in_transaction_session_timeout = {wait}; \
         SET statement_timeout = 60000; \
         DO $$ BEGIN IF current_setting('transaction_read_only') = 'on' THEN \
         RAISE EXCEPTION 'the session is read-only' USING ERRCODE = '25006'; END IF; END $$;"
    )
}

pub(super) fn without_password(url: &str) -> String {
    let bare = url.split('?').next().unwrap_or_default();
    match (bare.find("://"), bare.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}{}", &bare[..scheme + 3], &bare[at + 1..])
        }
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(
            without_password("postgres://latchkey:s3cret@db:5432/latchkey?sslmode=require"),
            "postgres://db:5432/latchkey"
        );
        assert_eq!(
            without_password("sqlite:///a/b.db?mode=rwc"),
            "sqlite:///a/b.db"
        );
    }
}
