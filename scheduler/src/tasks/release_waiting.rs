//! Releases calls that waited for their partner's rate, soon after their turn has come. The turns were given
//! away one by one at each partner's rate, so however much waits, a release is short; and partners take turns
//! (`architecture.md` §7).

use latchkey_jobs::Urgency;
use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;

use super::requeue_stuck::{Pushed, push_ready};
use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// See the module.
pub(crate) struct ReleaseWaiting;

impl Task for ReleaseWaiting {
    const NAME: &'static str = "release_waiting";
    type Status = Pushed;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.scheduler.release))
    }

    async fn is_needed(ctx: &Context) -> Result<bool, StoreError> {
        ctx.store.is_a_job_ready(ctx.store.db_now().await?).await
    }

    async fn run(ctx: &Context) -> Result<Pushed, StoreError> {
        let now = ctx.store.db_now().await?;
        let mut all = Pushed::default();
        for urgency in [Urgency::Interactive, Urgency::Background] {
            let released = push_ready(ctx, urgency, now).await?;
            all.pushed += released.pushed;
            all.queue_full |= released.queue_full;
        }
        Ok(all)
    }
}
