//! What a process of the fleet needs before it serves: a database that is reached, writable and migrated, a
//! Redis that keeps what it is given, and the keys from the settings. Each check stands here once, for the
//! start, which refuses, and for `doctor`, which tells.

use std::sync::Arc;

use latchkey_domain::Clock;
use latchkey_jobs::redis::{Redis, ServerFacts};
use latchkey_store::{Schema, Store, StoreConfig};
use latchkey_vault::KeyRing;
use secrecy::{ExposeSecret, SecretString};

use crate::{Config, ConfigError, Role, StartError};

/// Refuses single roles without a public origin: an API sends browsers off with the callback URL, and a worker
/// that exchanges the code elsewhere must name the same one.
///
/// # Errors
/// [`ConfigError::Invalid`] for `public_url`.
pub fn check_roles(config: &Config, roles: &[Role]) -> Result<(), ConfigError> {
    let needs_it = roles.contains(&Role::Api) || roles.contains(&Role::Worker);
    if config.is_fleet() && needs_it && config.public_url.is_none() && roles != Role::ALL {
        return Err(ConfigError::Invalid {
            name: "public_url",
            problem: "is needed when API and worker are processes of their own: all of them name the same callback \
                      URLs"
                .into(),
        });
    }
    Ok(())
}

/// Reaches the database. One that only reads (a standby, `default_transaction_read_only`) is refused.
///
/// # Errors
/// [`StartError::Store`] with the server and without its password.
pub async fn open_store(config: &Config, clock: Arc<dyn Clock>) -> Result<Store, StartError> {
    let config = store_config(config, clock);
    Store::open(config).await.map_err(StartError::Store)
}

/// The database that the settings name.
pub(crate) fn store_config(config: &Config, clock: Arc<dyn Clock>) -> StoreConfig {
    StoreConfig::new(exposed(config.database_url.as_ref()), clock)
}

/// Refuses a database that lacks migrations. One that a newer program migrated is served: migrations expand
/// before they contract, so that both versions run side by side during an upgrade.
///
/// # Errors
/// [`StartError::Behind`] with the first migration that it lacks.
pub async fn check_schema(store: &Store) -> Result<Schema, StartError> {
    match store.schema().await.map_err(StartError::Store)? {
        Schema::Behind { missing } => Err(StartError::Behind { missing }),
        schema @ (Schema::Current | Schema::Ahead { .. }) => Ok(schema),
    }
}

/// Reaches Redis and refuses one that would lose jobs: too old, evicting, or a cluster.
///
/// # Errors
/// [`StartError::Redis`] with what to change.
pub async fn open_redis(config: &Config) -> Result<(Redis, ServerFacts), StartError> {
    let url = exposed(config.redis_url.as_ref());
    let redis = Redis::open(&url, &config.redis_namespace)
        .await
        .map_err(StartError::Redis)?;
    let facts = redis.facts().await.map_err(StartError::Redis)?;
    facts.check().map_err(StartError::Redis)?;
    Ok((redis, facts))
}

/// The key-encryption keys. Every process needs the same, so none makes them.
///
/// # Errors
/// [`StartError::NoKey`] if neither setting gives them; else what is wrong with them.
pub fn key_ring(config: &Config) -> Result<KeyRing, StartError> {
    match (&config.key, &config.key_file) {
        (Some(key), _) => KeyRing::from_text(key).map_err(StartError::KeySetting),
        (None, Some(file)) => KeyRing::load(file).map_err(StartError::KeyFile),
        (None, None) => Err(StartError::NoKey),
    }
}

/// An address of the settings; both are there in a fleet, as the settings' own check sees to.
pub(crate) fn exposed(url: Option<&SecretString>) -> String {
    url.map(|url| url.expose_secret().to_owned())
        .unwrap_or_default()
}
