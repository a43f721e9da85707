//! [`Store`]: opening, migrating, readiness, closing. What it holds is in one file per aggregate.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use latchkey_domain::{Clock, Timestamp};

use crate::{
    CommitStats, Result, StoreError,
    engine::Engine,
    migrations,
    sql::{Sql, column},
    writer::{Answer, GroupWriter, Write},
};

/// Connections for reading, or in all on PostgreSQL: more than a small machine can use at once.
const DEFAULT_CONNECTIONS: u32 = 8;

/// How long readiness waits for its write: who probes gives up soon, and nothing else is as short.
const CHECK_WAIT: Duration = Duration::from_secs(2);

/// Where the store is and how much it may use.
#[derive(Clone)]
pub struct StoreConfig {
    /// `sqlite:///absolute/path?mode=rwc` (see [`StoreConfig::sqlite`]) or `postgres://…`.
    pub url: String,
    /// Connections for reading (SQLite, beside the one that writes), or in all (PostgreSQL).
    pub connections: u32,
    /// Time, on the embedded engine also for leases.
    pub clock: Arc<dyn Clock>,
    /// Told of each group of writes: how many, and how long it took to commit.
    pub on_commit: Arc<dyn Fn(usize, Duration) + Send + Sync>,
}

impl StoreConfig {
    /// The store at this address.
    pub fn new(url: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            url,
            connections: DEFAULT_CONNECTIONS,
            clock,
            on_commit: Arc::new(|_, _| {}),
        }
    }

    /// The same, with somebody who is told of each group of writes.
    #[must_use]
    pub fn telling(self, on_commit: impl Fn(usize, Duration) + Send + Sync + 'static) -> Self {
        Self {
            on_commit: Arc::new(on_commit),
            ..self
        }
    }

    /// The embedded store in this file, which is made if it is not there.
    pub fn sqlite(path: &Path, clock: Arc<dyn Clock>) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut url = "sqlite://".to_owned();
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                    url.push(char::from(*byte));
                }
                // Writing into a String cannot fail.
                other => {
                    let _ = write!(url, "%{other:02X}");
                }
            }
        }
        Self::new(url + "?mode=rwc", clock)
    }
}

/// Without the address: it may hold a password.
impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreConfig({} connections)", self.connections)
    }
}

/// How a store's schema compares with the one that a program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// The same.
    Current,
    /// It lacks migrations; a store without a schema lacks all.
    Behind {
        /// The first that it lacks.
        missing: &'static str,
    },
    /// A newer program migrated it. Migrations expand before they contract, so this program may run on it.
    Ahead {
        /// The first migration that this program does not know.
        newer: i64,
    },
}

/// The store. Clones share its connections and its group-commit writer.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) engine: Arc<Engine>,
    writer: GroupWriter,
}

impl Store {
    /// Opens the store; makes an embedded one that is not there. Run [`Store::migrate`] before use.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the place, when it cannot be reached or is no database.
    pub async fn open(config: StoreConfig) -> Result<Self> {
        let engine = Arc::new(Engine::open(config).await?);
        let writer = GroupWriter::start(&engine);
        Ok(Self { engine, writer })
    }

    /// Brings the schema up to date; does nothing when it is.
    pub async fn migrate(&self) -> Result<()> {
        let mut connection = self.engine.write.acquire().await?;
        self.engine.allow_long_statements(&mut connection).await?;
        migrations::migrator()
            .run(&mut *connection)
            .await
            .map_err(|source| StoreError::Migrate(Arc::new(source)))?;
        // Its settings are not those of the pool any more.
        Ok(connection.close().await?)
    }

    /// How the store's schema compares with the one that this program knows.
    pub async fn schema(&self) -> Result<Schema> {
        const TABLE: &str = "_sqlx_migrations";
        let applied = Sql::new("SELECT version FROM _sqlx_migrations ORDER BY version")
            .rows(&self.engine.read)
            .await;
        let applied: Vec<i64> = match applied {
            Ok(rows) => rows
                .iter()
                .map(|row| column(row, 0))
                .collect::<Result<_>>()?,
            // Both engines name the table that is missing.
            Err(StoreError::Sql(source)) if source.to_string().contains(TABLE) => Vec::new(),
            Err(error) => return Err(error),
        };
        let missing = migrations::names().find(|(number, _)| !applied.contains(number));
        let known = |number: &i64| migrations::names().any(|(ours, _)| ours == *number);
        Ok(
            match (missing, applied.iter().find(|number| !known(number))) {
                (Some((_, name)), _) => Schema::Behind { missing: name },
                (None, Some(newer)) => Schema::Ahead { newer: *newer },
                (None, None) => Schema::Current,
            },
        )
    }

    /// Whether the schema is exactly the one that this program knows; a store without a schema is not.
    pub async fn is_migrated(&self) -> Result<bool> {
        Ok(self.schema().await? == Schema::Current)
    }

    /// Writes one row, for readiness: full and read-only stores show by their errors, one that is away by why.
    pub async fn check_writable(&self) -> Result<()> {
        let write = Sql::new(
            "INSERT INTO store_checks (id, checked_at) VALUES (1, $1) \
             ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at",
        )
        .bind(&self.engine.now())
        .run(&self.engine.write);
        match tokio::time::timeout(CHECK_WAIT, write).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if !error.is_away() => Err(error),
            Ok(Err(_)) | Err(_) => Err(self.engine.why_away().await),
        }
    }

    /// Reads one row, for readiness.
    pub async fn check_readable(&self) -> Result<()> {
        let _: i64 = Sql::new("SELECT COUNT(*) FROM store_checks")
            .scalar(&self.engine.read)
            .await?;
        Ok(())
    }

    /// Database time: the injected clock on SQLite, the server's on PostgreSQL. Leases count by it.
    pub async fn db_now(&self) -> Result<Timestamp> {
        self.engine.read_db_now().await
    }

    /// How many transactions the group-commit writer made, and for how many writes.
    pub fn commit_stats(&self) -> CommitStats {
        self.writer.stats()
    }

    /// Closes every connection once it is given back; writes that come later are refused.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.engine.write.is_closed()
    }

    /// Hands a write to the group-commit writer and waits for its outcome.
    pub(crate) async fn group(&self, write: Write) -> Result<Answer> {
        self.writer.submit(write).await
    }
}

#[cfg(test)]
mod tests {
    //! What a full or read-only store says, on a real file.

    use latchkey_domain::{ManualClock, PartnerId, Timestamp, states::PartnerStatus};

    use super::*;
    use crate::{Confirmation, PartnerRow};

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)))
    }

    fn partner(n: u128, use_case: String) -> PartnerRow {
        PartnerRow {
            id: PartnerId::from_u128(n),
            company: "Acme".into(),
            website: "https://acme.example".into(),
            contact_email: None,
            use_case: Some(use_case),
            plan: "free".into(),
            status: PartnerStatus::Active,
            confirmation: Confirmation::None,
            redirect_urls: vec![],
            created_at: Timestamp::from_secs(0),
            updated_at: Timestamp::from_secs(0),
        }
    }

    #[tokio::test]
    async fn a_full_store_says_so_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig::sqlite(&directory.path().join("a.db"), clock());
        let store = Store::open(config).await.unwrap();
        store.migrate().await.unwrap();
        store.check_writable().await.unwrap();
        let count = async |what: &str| -> i64 {
            let count = Sql::new(format!("PRAGMA {what}_count"));
            count.scalar(&store.engine.write).await.unwrap()
        };
        // Pages that a migration left free count as room.
        let pages = count("page").await - count("freelist").await;
        Sql::new(format!("PRAGMA max_page_count = {}", pages + 3))
            .rows(&store.engine.write)
            .await
            .unwrap();
        let big = || "x".repeat(9000);
        store.insert_partner(&partner(1, big())).await.unwrap();
        let error = store.insert_partner(&partner(2, big())).await.unwrap_err();
        assert!(error.is_full(), "{error:?}");
        assert!(!error.is_read_only());
        assert!(
            store
                .get_partner(PartnerId::from_u128(1))
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            store
                .get_partner(PartnerId::from_u128(2))
                .await
                .unwrap()
                .is_none()
        );
        // A group that meets a full disk fails as a whole, at once, and the next ones go on.
        let job = |sealed| crate::JobRow {
            sealed: Some(vec![0; sealed]),
            ..crate::conformance::job_of(PartnerId::OPERATOR)
        };
        let error = store.insert_job(job(200_000)).await.unwrap_err();
        assert!(error.is_full(), "{error:?}");
        Sql::new("PRAGMA max_page_count = 100000")
            .rows(&store.engine.write)
            .await
            .unwrap();
        assert!(store.insert_job(job(200_000)).await.unwrap());
        store.check_writable().await.unwrap();
    }

    #[tokio::test]
    async fn a_read_only_store_says_so_and_reads() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig::sqlite(&directory.path().join("a.db"), clock());
        let writer = Store::open(config.clone()).await.unwrap();
        writer.migrate().await.unwrap();
        let url = config.url.replace("mode=rwc", "mode=ro");
        let store = Store::open(StoreConfig::new(url, clock())).await.unwrap();
        store.check_readable().await.unwrap();
        let error = store.check_writable().await.unwrap_err();
        assert!(error.is_read_only() && !error.is_full(), "{error:?}");
        let error = store
            .insert_job(crate::conformance::job_of(PartnerId::OPERATOR))
            .await;
        assert!(error.unwrap_err().is_read_only());
        assert!(
            store
                .get_partner(PartnerId::OPERATOR)
                .await
                .unwrap()
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_schema_from_the_future_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig::sqlite(&directory.path().join("a.db"), clock());
        let store = Store::open(config).await.unwrap();
        assert!(!store.is_migrated().await.unwrap());
        store.migrate().await.unwrap();
        assert!(store.is_migrated().await.unwrap());
        Sql::new(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, description, success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .run(&store.engine.write)
        .await
        .unwrap();
        assert!(!store.is_migrated().await.unwrap());
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(error, StoreError::Migrate(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.db");
        std::fs::write(&path, "these are notes, not a database".repeat(200)).unwrap();
        let error = Store::open(StoreConfig::sqlite(&path, clock()))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("notes.db"), "{error}");
        let missing = directory.path().join("no/such/folder/a.db");
        let error = Store::open(StoreConfig::sqlite(&missing, clock()))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
