//! [`Fleet`]: the PostgreSQL and the Redis that a measurement runs on: those that `DATABASE_URL` and
//! `REDIS_URL` name, if they are empty, else private ones that end with it.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_jobs::{bench as queue, redis::NAMESPACE};
use latchkey_runtime::{Config, Context, Stopper};
use latchkey_servers::{PrivatePostgres, PrivateRedis};
use latchkey_store::{Store, StoreConfig};
use latchkey_vault::KeyRing;
use secrecy::{ExposeSecret, SecretString};

use crate::output::note;

/// Two servers.
#[derive(Debug)]
pub(crate) struct Fleet {
    database_url: SecretString,
    redis_url: SecretString,
    private: bool,
    // Ended with this.
    _postgres: Option<PrivatePostgres>,
    _redis: Option<PrivateRedis>,
}

impl Fleet {
    /// Takes the servers of the settings, or starts private ones.
    ///
    /// # Errors
    /// When only one is named, when the Redis named holds something, or when no private one comes up.
    pub(crate) async fn find(config: &Config) -> anyhow::Result<Self> {
        match (&config.database_url, &config.redis_url) {
            (Some(database), Some(redis)) => Self::named(database.clone(), redis.clone()).await,
            (None, None) => Self::private().await,
            _ => {
                anyhow::bail!("set both DATABASE_URL and REDIS_URL, or neither for private servers")
            }
        }
    }

    async fn named(database_url: SecretString, redis_url: SecretString) -> anyhow::Result<Self> {
        let keys = queue::keys(redis_url.expose_secret()).await;
        let keys = keys.context("REDIS_URL does not answer")?;
        ensure!(
            keys == 0,
            "the Redis at REDIS_URL holds {keys} keys: a measurement takes an empty server, for what it \
             pushes would mix with yours; unset DATABASE_URL and REDIS_URL for private servers"
        );
        let fleet = Self {
            database_url,
            redis_url,
            private: false,
            _postgres: None,
            _redis: None,
        };
        let store = fleet.store().await?;
        let partners = store.list_partners(None, 1).await?;
        store.close().await;
        ensure!(
            partners.is_empty(),
            "the database at DATABASE_URL is in use: a measurement takes an empty one, which it fills and leaves \
             to you; unset DATABASE_URL and REDIS_URL for private servers"
        );
        Ok(fleet)
    }

    /// Has PostgreSQL look at its tables, as it does by itself within a minute. Until then it goes by plans that it made
    /// while they were empty: each claim of a job reads them all.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let store = self.store().await?;
        latchkey_store::bench::settle(&store).await?;
        store.close().await;
        Ok(())
    }

    async fn private() -> anyhow::Result<Self> {
        note("Starting a private PostgreSQL and a private Redis …");
        let (postgres, redis) = tokio::try_join!(PrivatePostgres::start(), PrivateRedis::start())?;
        Ok(Self {
            database_url: postgres.url().into(),
            redis_url: redis.url().into(),
            private: true,
            _postgres: Some(postgres),
            _redis: Some(redis),
        })
    }

    /// Its store, with the schema of this version.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses the schema.
    pub(crate) async fn store(&self) -> anyhow::Result<Store> {
        let url = self.database_url.expose_secret().to_owned();
        let store = Store::open(StoreConfig::new(url, Arc::new(SystemClock))).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Everything a worker works with, on these servers and in this directory.
    ///
    /// # Errors
    /// What the start says against it.
    pub(crate) async fn context(&self, config: &Config, dir: &Path) -> anyhow::Result<Context> {
        let key_file = dir.join("key");
        KeyRing::create(&key_file, &SystemEntropy)?;
        let config = Config {
            data_dir: dir.to_owned(),
            database_url: Some(self.database_url.clone()),
            redis_url: Some(self.redis_url.clone()),
            redis_namespace: NAMESPACE.to_owned(),
            migrate_on_start: true,
            key: None,
            key_file: Some(key_file),
            ..config.clone()
        };
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        Ok(Context::open(config, clock, entropy, Stopper::new()).await?)
    }

    /// Where PostgreSQL is, password and all.
    pub(crate) fn database_url(&self) -> &str {
        self.database_url.expose_secret()
    }

    /// Where Redis is.
    pub(crate) fn redis_url(&self) -> &str {
        self.redis_url.expose_secret()
    }

    /// What a report says of them.
    pub(crate) fn kind(&self) -> &'static str {
        if self.private { "private" } else { "named" }
    }
}
