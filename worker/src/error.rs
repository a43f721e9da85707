//! [`WorkerError`]: why a worker did not come up. Once it runs, nothing ends it but a stop.

use std::path::PathBuf;

use latchkey_store::StoreError;

/// Why a worker did not come up.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The journal of provider answers cannot be opened, locked or read.
    #[error("the journal at {} cannot be used", path.display())]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store failed while the journal was replayed or old attempts were closed.
    #[error("the worker cannot begin on this store")]
    Store(#[from] StoreError),
}
