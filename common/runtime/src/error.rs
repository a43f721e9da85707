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
    /// The fleet's database lacks migrations, and a server of the fleet makes none unless it is told to.
    #[error(
        "the database's schema is behind this program, it lacks {missing}: run `latchkey migrate` first, or set \
         LATCHKEY_MIGRATE_ON_START=true"
    )]
    Behind {
        /// The first migration that it lacks.
        missing: &'static str,
    },
    /// The fleet's Redis.
    #[error("the queue at REDIS_URL is not usable")]
    Redis(#[source] latchkey_jobs::redis::LinkError),
    /// The fleet's keys.
    #[error(
        "no key: every process of a fleet needs the same key-encryption keys, so none makes them; set LATCHKEY_KEY, \
         or LATCHKEY_KEY_FILE to a file that all of them have"
    )]
    NoKey,
    /// Sealing at start: the pepper.
    #[error(
        "the store's keys do not open with these key-encryption keys; they belong to another store"
    )]
    Seal(#[source] crate::SealError),
    /// The HTTP client.
    #[error("the provider client cannot be built")]
    Http(#[source] latchkey_oauth::http::SetupError),
}
