//! [`StoreError`]: what can go wrong in the store. A row that is not there is `None`, not an error.

use std::sync::Arc;

use crate::engine::{self, Meaning};

/// A failure of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The write contradicts a row that is there (a living duplicate, a version that moved on).
    #[error("{what}")]
    Conflict {
        /// What collides with what.
        what: &'static str,
    },
    /// A row holds a value that means nothing: written by hand, or by a newer version.
    #[error("table {table}, column {column}, row {row} holds a value that Latchkey does not know")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// The volume or the database is full.
    #[error("the store is full: free space on its volume, then go on (nothing was half written)")]
    Full {
        /// What the engine said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The store may not be written.
    #[error(
        "the store is read-only, or its volume refuses writes: check the permissions of its files, the mount and the kernel's log; \
         on PostgreSQL, that DATABASE_URL names the primary and default_transaction_read_only is off"
    )]
    ReadOnly {
        /// What the engine said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The address of the store, or its files, cannot be used.
    #[error("the store at {place} cannot be opened")]
    Open {
        /// Path or server, without a password.
        place: String,
        /// What the engine said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A migration failed, or the schema is newer than this program.
    #[error("the store's schema could not be brought up to date")]
    Migrate(#[source] Arc<sqlx::migrate::MigrateError>),
    /// Anything else the engine reports.
    #[error("the store failed")]
    Sql(#[source] Arc<sqlx::Error>),
    /// The store was closed while the write waited.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the store has no room left.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether the store may not be written.
    pub const fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. })
    }

    /// Whether the store cannot be reached, or was cut off: it may be back soon.
    pub fn is_away(&self) -> bool {
        matches!(self.meaning(), Meaning::Cut | Meaning::Unreachable)
    }

    /// Whether the write contradicts a row that is there.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

impl StoreError {
    /// The failure of a unique index becomes a conflict with these words.
    pub(crate) fn or_conflict(self, what: &'static str) -> Self {
        if self.violates(&sqlx::error::ErrorKind::UniqueViolation) {
            Self::Conflict { what }
        } else {
            self
        }
    }

    /// The failure of a foreign key becomes a conflict with these words.
    pub(crate) fn or_missing(self, what: &'static str) -> Self {
        if self.violates(&sqlx::error::ErrorKind::ForeignKeyViolation) {
            Self::Conflict { what }
        } else {
            self
        }
    }

    fn violates(&self, kind: &sqlx::error::ErrorKind) -> bool {
        let Self::Sql(source) = self else {
            return false;
        };
        source
            .as_database_error()
            .is_some_and(|error| error.kind() == *kind)
    }

    /// What the engine's code says.
    pub(crate) fn meaning(&self) -> Meaning {
        match self {
            Self::Full { .. } => Meaning::Full,
            Self::ReadOnly { .. } => Meaning::ReadOnly,
            Self::Sql(source) => engine::meaning(source),
            _ => Meaning::Other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(source: sqlx::Error) -> Self {
        let meaning = engine::meaning(&source);
        let source = Arc::new(source);
        match meaning {
            Meaning::Full => Self::Full { source },
            Meaning::ReadOnly => Self::ReadOnly { source },
            Meaning::Again | Meaning::Cut | Meaning::Unreachable | Meaning::Other => {
                Self::Sql(source)
            }
        }
    }
}
