//! Every difference between SQLite and PostgreSQL: how to connect, how to begin a write, how to skip what
//! another process has locked, whose clock counts, and which error codes mean what.
//!
//! SQLite has one writer. All writes go through a pool of one connection, whose queue is fair, so a write
//! that waits beside the group-commit writer waits for one group at most; reads have connections of their
//! own and never wait (WAL).

mod connecting;
mod meaning;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use latchkey_domain::{Clock, Timestamp};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _, Transaction};

use self::connecting::{
    Doubts, KEYED, connect, may_write, postgres_setup, sqlite_setup, try_once, without_password,
};
pub(crate) use self::meaning::{Meaning, meaning};
use crate::{Result, StoreConfig, StoreError, sql::Sql};

/// How long one more connection is waited for, only to learn why there is none.
const TRY_WAIT: Duration = Duration::from_secs(2);
/// How often, at most, what the write-ahead log holds is moved into the file beside the writer: some 16 MiB at the
/// most that it writes.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// Groups of writes under way at once on PostgreSQL: one runs while the other commits. Each has a connection.
const QUEUES: u32 = 2;

/// Which engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The embedded one.
    Sqlite,
    /// The fleet's.
    Postgres,
}

/// How the rows of a group statement are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// `VALUES (?, ?), …`, each value bound, the last row repeated up to one of a few sizes, so that there are few
    /// texts to prepare. SQLite takes `$1` as a *name*, and searches all names for each value that is bound: a
    /// group of 500 receipts, 14,000 values, then takes 0.4 s to bind (measured). Without names it takes nothing.
    Each,
    /// `unnest($1, $2, …)`, an array for each column: one text for groups of any size, and few parameters.
    /// PostgreSQL reads, plans and keeps a statement of some thousand parameters for longer than it runs.
    Arrays,
}

/// The engine with its connections.
pub(crate) struct Engine {
    dialect: Dialect,
    /// Where it is, with its password: for one more connection when the pool has none.
    url: String,
    /// For statements that change nothing.
    pub(crate) read: AnyPool,
    /// For all others.
    pub(crate) write: AnyPool,
    /// For groups of writes, a connection for each queue of them. On SQLite the one that writes.
    pub(crate) groups: AnyPool,
    clock: Arc<dyn Clock>,
    on_commit: Arc<dyn Fn(usize, Duration) + Send + Sync>,
    /// When the log was moved into the file last, in monotonic ms; [`MOVING`] while it is.
    checkpointed: Arc<AtomicU64>,
    /// Whether sessions are to be asked although they are in use.
    pub(crate) doubts: Doubts,
    /// Makes the next commit lose its answer after it succeeded, as a cut connection would.
    #[cfg(test)]
    pub(crate) lose_next_commit: std::sync::atomic::AtomicBool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("dialect", &self.dialect)
            .field("url", &without_password(&self.url))
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Connects.
    pub(crate) async fn open(config: StoreConfig) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let dialect = if config.url.starts_with("sqlite:") {
            Dialect::Sqlite
        } else {
            Dialect::Postgres
        };
        let doubts = Doubts::new(Arc::clone(&config.clock));
        let (read, write, groups) = match dialect {
            Dialect::Sqlite => {
                // One connection beside the pools comes first: it makes the file, switches it to the
                // write-ahead log, and says at once what is wrong, where a pool would go on trying.
                may_write(&config.url)?;
                try_once(&config.url, sqlite_setup(false)).await?;
                let write = connect(&config.url, 1, sqlite_setup(false), doubts.clone()).await?;
                let setup = sqlite_setup(true);
                let read = connect(&config.url, config.connections, setup, doubts.clone()).await?;
                (read, write.clone(), write)
            }
            Dialect::Postgres => {
                // Here too a pool would go on trying for as long as a caller may wait.
                try_once(&config.url, postgres_setup()).await?;
                let setup = postgres_setup();
                let others = config.connections.saturating_sub(QUEUES);
                let pool = connect(&config.url, others, setup, doubts.clone()).await?;
                let setup = postgres_setup() + KEYED;
                let groups = connect(&config.url, QUEUES, setup, doubts.clone()).await?;
                (pool.clone(), pool, groups)
            }
        };
        Ok(Self {
            dialect,
            url: config.url,
            read,
            write,
            groups,
            clock: config.clock,
            on_commit: config.on_commit,
            checkpointed: Arc::default(),
            doubts,
            #[cfg(test)]
            lose_next_commit: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Why the pool has no connection to give: it goes on trying, whatever the reason, and tells none.
    pub(crate) async fn why_away(&self) -> StoreError {
        if self.dialect == Dialect::Postgres {
            let tried = tokio::time::timeout(TRY_WAIT, try_once(&self.url, postgres_setup()));
            if let Ok(Err(reason)) = tried.await {
                return reason;
            }
        }
        sqlx::Error::PoolTimedOut.into()
    }

    /// Begins a transaction that writes. SQLite takes the write lock at once: a transaction that reads
    /// first and writes later could not wait for it.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(self.write.begin_with(self.begin_statement()).await?)
    }

    /// The same on a connection that is at hand.
    pub(crate) async fn begin_on<'c>(
        &self,
        connection: &'c mut AnyConnection,
    ) -> Result<Transaction<'c, Any>> {
        Ok(connection.begin_with(self.begin_statement()).await?)
    }

    const fn begin_statement(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        }
    }

    /// `WITH picked AS (<select>) `: the rows (partner and id) that the rest of the statement changes. Rows
    /// that another process works on are left to it. Materialised, because PostgreSQL may otherwise run
    /// the select again for each row, and then picks more than its limit (seen on 15).
    pub(crate) fn pick(&self, select: &str) -> String {
        let skip_locked = match self.dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        };
        format!("WITH picked AS MATERIALIZED ({select}{skip_locked}) ")
    }

    /// A select whose rows come as one value, a JSON array with an array of these columns for each: hundreds of small
    /// rows cost far more on their way than they do in the database, a hand-over between threads or a message each.
    pub(crate) fn gathered(&self, columns: &str, select: &str) -> String {
        let all = match self.dialect {
            Dialect::Sqlite => format!("json_group_array(json_array({columns}))"),
            Dialect::Postgres => {
                format!("CAST(COALESCE(json_agg(json_build_array({columns})), '[]') AS TEXT)")
            }
        };
        format!("SELECT {all} FROM ({select}) AS gathered")
    }

    /// What ends a select whose rows of one table, by its name in the statement, this transaction must hold: those that
    /// nobody else does.
    pub(crate) fn skip_locked(&self, of: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => String::new(),
            Dialect::Postgres => format!(" FOR NO KEY UPDATE OF {of} SKIP LOCKED"),
        }
    }

    /// What ends a select whose rows this transaction must hold.
    pub(crate) const fn for_update(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE",
        }
    }

    /// What ends a select whose rows must stay as they are until this transaction ends; others may hold them so too.
    pub(crate) const fn for_share(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR SHARE",
        }
    }

    /// What ends a select whose rows of one table, by its name in the statement, stay as they are until this transaction
    /// ends, and are looked at again if they changed while it waited for them. SQLite has one writer.
    pub(crate) const fn hold(marks: Marks) -> &'static str {
        match marks {
            Marks::Each => "",
            Marks::Arrays => " FOR NO KEY UPDATE OF g",
        }
    }

    /// Whether rows are locked one by one, so that a group must take them in order.
    pub(crate) const fn locks_rows(&self) -> bool {
        matches!(self.dialect, Dialect::Postgres)
    }

    /// How many groups of writes may be under way at once.
    pub(crate) const fn queues(&self) -> u32 {
        match self.dialect {
            Dialect::Sqlite => 1,
            Dialect::Postgres => QUEUES,
        }
    }

    /// How the rows of a group statement are written.
    pub(crate) const fn marks(&self) -> Marks {
        match self.dialect {
            Dialect::Sqlite => Marks::Each,
            Dialect::Postgres => Marks::Arrays,
        }
    }

    /// The injected clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The injected clock's monotonic time.
    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Tells whoever wants to know of a group of writes, begun at this monotonic time.
    pub(crate) fn tell_commit(&self, writes: usize, begun: Duration) {
        (self.on_commit)(writes, self.monotonic().saturating_sub(begun));
    }

    /// Database time inside a statement, where this value of its row is the injected clock's.
    pub(crate) const fn db_now_in(marks: Marks, of_clock: &'static str) -> &'static str {
        match marks {
            Marks::Each => of_clock,
            // A select of its own runs once in a statement.
            Marks::Arrays => {
                "(SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT))"
            }
        }
    }

    /// Database time: leases among machines count by it.
    pub(crate) async fn db_now(&self, connection: &mut AnyConnection) -> Result<Timestamp> {
        match self.dialect {
            Dialect::Sqlite => Ok(self.clock.now()),
            Dialect::Postgres => {
                Sql::new("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
                    .scalar(connection)
                    .await
                    .map(Timestamp::from_micros)
            }
        }
    }

    /// [`Engine::db_now`] outside a transaction.
    pub(crate) async fn read_db_now(&self) -> Result<Timestamp> {
        match self.dialect {
            Dialect::Sqlite => Ok(self.clock.now()),
            Dialect::Postgres => self.db_now(&mut *self.read.acquire().await?).await,
        }
    }

    /// Lifts the limits on time, for migrations.
    pub(crate) async fn allow_long_statements(&self, connection: &mut AnyConnection) -> Result<()> {
        if self.dialect == Dialect::Postgres {
            let unlimited = "SET statement_timeout = 0; SET lock_timeout = 0";
            connection.execute(sqlx::raw_sql(unlimited)).await?;
        }
        Ok(())
    }

    /// Commits.
    pub(crate) async fn commit(&self, transaction: Transaction<'_, Any>) -> Result<()> {
        transaction.commit().await?;
        self.committed()
    }

    /// What follows a commit.
    #[cfg_attr(
        not(test),
        expect(clippy::unnecessary_wraps, reason = "a test makes it fail")
    )]
    pub(crate) fn committed(&self) -> Result<()> {
        if self.dialect == Dialect::Sqlite {
            self.checkpoint();
        }
        #[cfg(test)]
        if self
            .lose_next_commit
            .swap(false, std::sync::atomic::Ordering::SeqCst)
        {
            return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into());
        }
        Ok(())
    }

    /// Moves the log into the file beside the writer, if it is time and nobody is at it: a commit that did it would
    /// take ten times as long.
    fn checkpoint(&self) {
        let now = millis(self.clock.monotonic());
        let last = self.checkpointed.load(Ordering::Relaxed);
        if last == MOVING || now < last.saturating_add(millis(CHECKPOINT_EVERY)) {
            return;
        }
        let (order, state) = (Ordering::Relaxed, Arc::clone(&self.checkpointed));
        if state.compare_exchange(last, MOVING, order, order).is_err() {
            return;
        }
        let (read, clock) = (self.read.clone(), Arc::clone(&self.clock));
        tokio::spawn(async move {
            // Readers and the writer go on meanwhile.
            if let Err(error) = Sql::new("PRAGMA wal_checkpoint(PASSIVE)").run(&read).await {
                tracing::debug!(%error, "the log is left to the next commit");
            }
            state.store(millis(clock.monotonic()), Ordering::Relaxed);
        });
    }

    /// Brings the database to rest after rows in bulk, as it would be some minutes later: what SQLite's log holds is in the
    /// file, and the log keeps its length; PostgreSQL knows how its tables look.
    pub(crate) async fn settle(&self) -> Result<()> {
        let statement = match self.dialect {
            Dialect::Sqlite => "PRAGMA wal_checkpoint(RESTART)",
            Dialect::Postgres => "ANALYZE",
        };
        Sql::new(statement).run(&self.write).await.map(drop)
    }

    /// Closes every connection once it is given back.
    pub(crate) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
        self.groups.close().await;
    }
}

/// Instead of a time: the log is being moved.
const MOVING: u64 = u64::MAX;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(MOVING - 1)
}
