//! Rolls usage up from the ledger: every hour that receipts touched since the last run is computed anew, and
//! with it its day and its period. A pure function of the ledger: running it twice changes nothing.

use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;
use serde::Serialize;

use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// See the module.
pub(crate) struct UsageRollup;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Partner-hours computed anew.
    hours: u64,
}

impl Task for UsageRollup {
    const NAME: &'static str = "usage_rollup";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Cadence::cron(&config.scheduler.usage_rollup)
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let rolled = ctx.store.roll_up_usage(ctx.store.db_now().await?).await?;
        Ok(Status {
            hours: rolled.hours,
        })
    }
}
