//! Deletes what has been kept for as long as the settings say: results of jobs, used idempotency keys, ended
//! connect sessions, the history of refreshes, and receipts whose sums are in the roll-ups. The audit log stays.

use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;
use serde::Serialize;

use super::{BATCH, in_batches};
use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// See the module.
pub(crate) struct Retention;

/// What a run deleted.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Final jobs with their results.
    jobs: u64,
    /// Idempotency keys.
    idempotency_keys: u64,
    /// Ended sessions.
    sessions: u64,
    /// Auth configs that were deleted, and that no revocation needs any more.
    auth_configs: u64,
    /// Receipts.
    receipts: u64,
    /// The history of refreshes.
    refreshes: u64,
}

impl Task for Retention {
    const NAME: &'static str = "retention";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.scheduler.sweep))
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let (store, keep) = (&ctx.store, &ctx.config.retention);
        let now = store.db_now().await?;
        let receipts_until = now.minus(keep.receipts);
        let sessions_until = now.minus(keep.sessions);
        let refreshes_until = now.minus(keep.refreshes);
        Ok(Status {
            jobs: in_batches(|| store.delete_expired_jobs(now, BATCH)).await?,
            idempotency_keys: in_batches(|| store.expire_idempotency(now, BATCH)).await?,
            receipts: in_batches(|| store.delete_old_receipts(receipts_until, BATCH)).await?,
            sessions: in_batches(|| store.delete_old_sessions(sessions_until, BATCH)).await?,
            auth_configs: in_batches(|| store.purge_auth_configs(BATCH)).await?,
            refreshes: in_batches(|| store.delete_old_refreshes(refreshes_until, BATCH)).await?,
        })
    }
}
