//! [`StartError`]: why a process did not come up, in words that say what to do.

use std::path::PathBuf;

/// Why a process did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings.
    #[error("the settings are not usable")]
    Config(#[from] crate::ConfigError),
    /// Another process serves this data directory.
    #[error(
        "data directory {} is in use by another latchkey{}; stop that one, or choose another directory with --data-dir",
        path.display(),
        pid.map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who, if `run.json` tells.
        pid: Option<u32>,
    },
    /// A file or directory.
    #[error("cannot use {}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address.
    #[error("cannot listen on {address}; choose another with --listen or --admin-listen")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file.
    #[error("the key-encryption keys are not usable")]
    KeyFile(#[source] latchkey_vault::KeyFileError),
    /// The keys in the setting `key`.
    #[error("the key-encryption keys in LATCHKEY_KEY are not usable")]
    KeySetting(#[source] latchkey_vault::KeyTextError),
    /// The catalogue.
    #[error("the provider catalogue is not usable")]
    Catalog(#[source] latchkey_providers::CatalogError),
    /// The store.
    #[error("the store is not usable")]
    Store(#[source] latchkey_store::StoreError),
    /// Sealing at start: the pepper.
    #[error(
        "the store's keys do not open with this key file; it belongs to another data directory"
    )]
    Seal(#[source] crate::SealError),
    /// The HTTP client.
    #[error("the provider client cannot be built")]
    Http(#[source] latchkey_oauth::http::SetupError),
    /// What this build does not do yet.
    #[error("{0}")]
    Unsupported(String),
}
