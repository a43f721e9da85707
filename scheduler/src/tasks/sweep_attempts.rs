//! Looks for refresh attempts whose lease ran out unclosed: their holder died or stands still. It shows their
//! grants as in doubt and counts the sweep; enough of them, and the attempt counts as closed (the
//! *patience*, `architecture.md` §6.5). Whoever claims such a grant next finds that out by itself; a deleted
//! connection's, which nobody claims, is closed here, so that its keys can be forgotten.

use latchkey_domain::{
    Timestamp,
    refresh::{self, Class, Ended},
    states::GrantState,
};
use latchkey_runtime::{Config, Context};
use latchkey_store::{CloseAttempt, OpenGrant, StoreError};
use latchkey_telemetry::RefreshOutcome;
use serde::Serialize;

use super::{BATCH, MAX_BATCHES};
use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// A row is counted once in this share of the sweep's period: a tick that comes a little early or late must
/// not leave a sweep out, and each tick is made only once anyway.
const ONCE_IN: f64 = 0.5;

/// See the module.
pub(crate) struct SweepAttempts;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Attempts found past their lease.
    overdue: u64,
    /// Of these, attempts found for the first time: grants that are newly in doubt.
    new: u64,
    /// All grants in doubt, those of closed attempts included.
    in_doubt: u64,
}

impl Task for SweepAttempts {
    const NAME: &'static str = "sweep_attempts";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.refresh.sweep))
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let once_in = ctx.config.refresh.sweep.mul_f64(ONCE_IN);
        let patience = ctx.config.refresh.patience_sweeps;
        let now = ctx.store.db_now().await?;
        let mut status = Status::default();
        for _ in 0..MAX_BATCHES {
            let swept = ctx.store.sweep_overdue(now, once_in, BATCH).await?;
            status.overdue += swept.len() as u64;
            for OpenGrant { row, open } in swept.iter().filter(|found| found.open.sweeps == 1) {
                status.new += 1;
                tracing::warn!(
                    grant = %row.id, provider = row.provider, holder = %open.holder,
                    "refresh in doubt: its holder is silent"
                );
            }
            for found in &swept {
                if found.row.state == GrantState::Revoking && found.open.sweeps >= patience {
                    close(ctx, found, now).await?;
                }
            }
            if swept.len() < BATCH as usize {
                break;
            }
        }
        status.in_doubt = ctx.store.count_in_doubt().await?;
        ctx.metrics.in_doubt(status.in_doubt);
        ctx.metrics.grants_due(ctx.store.count_due(now).await?);
        Ok(status)
    }
}

/// Closes an attempt whose holder was silent for the patience.
async fn close(ctx: &Context, found: &OpenGrant, now: Timestamp) -> Result<(), StoreError> {
    let OpenGrant { row, open } = found;
    let closed = CloseAttempt {
        grant: row.key(),
        version: row.version,
        attempt: open.attempt,
        closing: refresh::close(Ended::Unknown, Class::Transient, row.in_doubt),
        retry_at: None,
        failures: row.failures,
        last_failure: Some("its worker never came back".to_owned()),
        outcome: RefreshOutcome::InDoubt.as_str(),
        took: None,
        due_at: None,
        now,
    };
    ctx.store.close_attempt(closed).await.map(drop)
}
