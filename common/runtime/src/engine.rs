//! The two engines: what stands behind the traits that everything above works with. Nothing above this file
//! can tell which of them it is.

use std::sync::Arc;

use latchkey_domain::{Clock, Entropy};
use latchkey_jobs::{
    MemoryQueue, MemoryReplies, MemorySignals, Queue, RedisQueue, RedisReplies, RedisSignals,
    Replies, Signals,
};
use latchkey_limits::{CallLimits, LocalLimits, RedisLimits};
use latchkey_store::{Schema, Store, StoreConfig};
use latchkey_telemetry::Metrics;

use crate::{Config, StartError, data_dir, database_clock::DatabaseClock, fleet};

/// What differs between the engines.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) replies: Arc<dyn Replies>,
    pub(crate) signals: Arc<dyn Signals>,
    pub(crate) limits: Arc<dyn CallLimits>,
}

impl Engine {
    /// Brings up the engine that the settings name.
    pub(crate) async fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        if config.is_fleet() {
            Self::fleet(config, clock, entropy, metrics).await
        } else {
            Self::embedded(config, clock, metrics).await
        }
    }

    /// SQLite and everything else in this process, which holds the data directory's lock.
    async fn embedded(
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let path = config.data_dir.join("latchkey.db");
        data_dir::make_private(&path)?;
        let told = metrics.clone();
        let store = StoreConfig::sqlite(&path, Arc::clone(clock))
            .telling(move |writes, took| told.store_commit(writes, took));
        let store = Store::open(store).await.map_err(StartError::Store)?;
        store.migrate().await.map_err(StartError::Store)?;
        // This process holds the data directory alone: a job that is running has lost its worker.
        let orphans = store
            .release_running_jobs(clock.now())
            .await
            .map_err(StartError::Store)?;
        if orphans > 0 {
            tracing::info!(orphans, "jobs of a process that died are released");
        }
        Ok(Self {
            clock: Arc::clone(clock),
            store,
            queue: Arc::new(MemoryQueue::new(Arc::clone(clock))),
            replies: Arc::new(MemoryReplies::default()),
            signals: Arc::new(MemorySignals::default()),
            limits: Arc::new(LocalLimits::new(Arc::clone(clock))),
        })
    }

    /// PostgreSQL and Redis, shared with any number of processes.
    async fn fleet(
        config: &Config,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(DatabaseClock::new(Arc::clone(clock)));
        let clock: Arc<dyn Clock> = shared.clone();
        let told = metrics.clone();
        let store = fleet::store_config(config, Arc::clone(&clock))
            .telling(move |writes, took| told.store_commit(writes, took));
        let store = Store::open(store).await.map_err(StartError::Store)?;
        shared
            .follow(store.clone())
            .await
            .map_err(StartError::Store)?;
        let schema = store.schema().await.map_err(StartError::Store)?;
        if config.migrate_on_start && matches!(schema, Schema::Behind { .. }) {
            store.migrate().await.map_err(StartError::Store)?;
        }
        if let Schema::Ahead { newer } = fleet::check_schema(&store).await? {
            tracing::warn!(newer, "a newer version has migrated the database");
        }
        let (redis, _) = fleet::open_redis(config).await?;
        let told = metrics.clone();
        let limits = RedisLimits::open(
            &fleet::exposed(config.redis_url.as_ref()),
            &config.redis_namespace,
            Arc::clone(&clock),
            entropy,
            move |away| told.limits_by_share(away),
        );
        let limits = Arc::new(limits.map_err(|error| StartError::Redis(error.into()))?);
        Ok(Self {
            clock,
            store,
            queue: Arc::new(RedisQueue::new(redis.clone())),
            replies: Arc::new(RedisReplies::new(redis.clone())),
            signals: Arc::new(RedisSignals::new(redis)),
            limits,
        })
    }
}
