//! Ends connect sessions whose time is over, and forgets the secrets they hold.

use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;
use serde::Serialize;

use super::{BATCH, in_batches};
use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// See the module.
pub(crate) struct ExpireSessions;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Sessions that ended.
    expired: u64,
}

impl Task for ExpireSessions {
    const NAME: &'static str = "expire_sessions";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.scheduler.sweep))
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let now = ctx.store.db_now().await?;
        let expired = in_batches(|| ctx.store.expire_sessions(now, BATCH)).await?;
        Ok(Status { expired })
    }
}
