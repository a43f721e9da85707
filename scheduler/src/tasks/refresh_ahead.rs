//! Begins a backlog before it is one: where a provider's budget cannot make all that will be due soon, the next
//! refreshes are made due now, as many as the budget takes. So grants that end in the same second are spread
//! over the time before it, and none is missed wherever budget × time suffices.

use std::time::Duration;

use latchkey_domain::pacing::{HORIZONS, pulled_ahead};
use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;
use serde::Serialize;

use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// See the module.
pub(crate) struct RefreshAhead;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Grants made due before their time.
    pulled: u64,
}

impl Task for RefreshAhead {
    const NAME: &'static str = "refresh_ahead";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.refresh.sweep))
    }

    /// Counting by provider looks at every coming grant; it is done only if they are many.
    async fn is_needed(ctx: &Context) -> Result<bool, StoreError> {
        let rate = ctx.config.refresh.provider_per_second;
        if rate == 0 {
            return Ok(false);
        }
        let until = ctx.store.db_now().await? + furthest();
        // What is made in half a minute is never a backlog.
        Ok(ctx.store.count_due(until).await? > u64::from(rate) * 30)
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let (store, refresh) = (&ctx.store, &ctx.config.refresh);
        let now = store.db_now().await?;
        let mut status = Status::default();
        for (provider, within) in store.due_within(now).await? {
            let ahead = pulled_ahead(&within, refresh.provider_per_second, refresh.sweep);
            let limit = u32::try_from(ahead).unwrap_or(u32::MAX);
            if limit > 0 {
                status.pulled += store
                    .pull_ahead(&provider, now, now + furthest(), limit)
                    .await?;
            }
        }
        Ok(status)
    }
}

fn furthest() -> Duration {
    let [.., minutes] = HORIZONS;
    Duration::from_secs(60) * minutes
}
