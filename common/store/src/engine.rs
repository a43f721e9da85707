//! Everything that differs between SQLite and PostgreSQL.

use std::{path::Path, sync::Arc};

use latchkey_domain::{Clock, Timestamp};

use crate::Result;

/// Where the store is and how much it may use.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:///absolute/path` (made if it is not there) or `postgres://…`.
    pub url: String,
    /// Connections for reading (SQLite), or in all (PostgreSQL).
    pub connections: u32,
    /// Time on the embedded engine.
    pub clock: Arc<dyn Clock>,
}

impl StoreConfig {
    /// The embedded store in this file.
    pub fn sqlite(path: &Path, clock: Arc<dyn Clock>) -> Self {
        unimplemented!()
    }
}

/// The store. Clones share its connections and its group-commit writer.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens the store; makes an embedded one that is not there. Run [`Store::migrate`] before use.
    pub async fn open(config: StoreConfig) -> Result<Self> {
        unimplemented!()
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self) -> Result<()> {
        unimplemented!()
    }

    /// Whether the schema is the one this program knows.
    pub async fn is_migrated(&self) -> Result<bool> {
        unimplemented!()
    }

    /// Writes and reads one row, for readiness: tells full and read-only stores by their errors.
    pub async fn check_writable(&self) -> Result<()> {
        unimplemented!()
    }

    /// Database time: the injected clock on SQLite, the server's on PostgreSQL. Leases count by it.
    pub async fn db_now(&self) -> Result<Timestamp> {
        unimplemented!()
    }

    /// Waits for what is in flight, then closes every connection.
    pub async fn close(&self) {
        unimplemented!()
    }
}
