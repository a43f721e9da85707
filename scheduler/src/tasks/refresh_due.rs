//! Sends grants that are due to the workers: the most urgent first, fair among partners, in batches. The next tick goes
//! on where this one stopped, so that none is sent twice; a pass that is as old as a batch may take begins again, for
//! batches that were lost. None of that blocks a claim.

use std::time::Duration;

use latchkey_domain::{JobId, Timestamp, pacing::Pacer};
use latchkey_jobs::{Job, PushError, Urgency, kinds::RefreshGrants};
use latchkey_runtime::{Config, Context};
use latchkey_store::{DueGrant, StoreError};
use latchkey_telemetry::{Chain, ThrottleScope};
use serde::Serialize;

use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// When a pass over due grants begins again, in leases: a worker's whole attempt with its wait for a slot. A grant
/// whose worker died before the claim is late by this much.
const AGAIN_LEASES: f64 = 1.5;
/// Batches that may wait in the queue: enough for every worker to find one, few enough that what is more
/// urgent a moment later does not wait behind them.
const QUEUED_MAX: usize = 256;
/// Batches sent in one go, so that a large backlog is found and pushed bit by bit.
const AT_ONCE: usize = 32;

/// See the module.
pub(crate) struct RefreshDue;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Grants sent to workers.
    grants: u64,
    /// In how many batches.
    batches: u64,
    /// Whether it stopped because the queue held enough.
    queue_full: bool,
    /// Grants over a budget, which were given times of their own.
    put_off: u64,
}

impl Task for RefreshDue {
    const NAME: &'static str = "refresh_due";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.refresh.tick))
    }

    async fn is_needed(ctx: &Context) -> Result<bool, StoreError> {
        let earliest = ctx.store.earliest_due().await?;
        Ok(match earliest {
            Some(at) => at <= ctx.store.db_now().await?,
            None => false,
        })
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let batch = ctx.config.refresh.batch;
        let again_after = ctx.config.refresh.lease.mul_f64(AGAIN_LEASES);
        let mut status = Status::default();
        let mut pacer = pacer(ctx).await?;
        while !ctx.stopper.is_draining() {
            let room = room(ctx).await.min(AT_ONCE);
            if room == 0 {
                status.queue_full = true;
                break;
            }
            let now = ctx.store.db_now().await?;
            let limit = u32::try_from(room * batch).unwrap_or(u32::MAX);
            let due = ctx.store.take_due_grants(now, again_after, limit).await?;
            let is_all = due.len() < room * batch;
            let due = within_budget(ctx, due, now, &mut pacer, &mut status).await?;
            for part in due.chunks(batch) {
                if !push(ctx, part).await {
                    status.queue_full = true;
                    return Ok(status);
                }
                status.grants += part.len() as u64;
                status.batches += 1;
            }
            if is_all {
                break;
            }
        }
        for (provider, used) in pacer.used() {
            ctx.metrics.refresh_budget(provider, used);
        }
        Ok(status)
    }
}

/// The budgets of this tick.
async fn pacer(ctx: &Context) -> Result<Pacer, StoreError> {
    let (refresh, now) = (&ctx.config.refresh, ctx.store.db_now().await?);
    let period = refresh.tick.max(Duration::from_millis(1));
    let micros = i64::try_from(period.as_micros()).unwrap_or(i64::MAX);
    let tick = u64::try_from(now.as_micros() / micros).unwrap_or(0);
    Ok(Pacer::new(refresh.budgets(), period, tick))
}

/// Those that may go out in this tick, the most urgent; the others get times of their own.
async fn within_budget(
    ctx: &Context,
    due: Vec<DueGrant>,
    now: Timestamp,
    pacer: &mut Pacer,
    status: &mut Status,
) -> Result<Vec<DueGrant>, StoreError> {
    let mut later = Vec::new();
    let mut first = Vec::with_capacity(due.len());
    for grant in due {
        match pacer.admit(&grant.provider, grant.auth_config_id) {
            Ok(()) => first.push(grant),
            Err(wait) => {
                ctx.metrics.throttled(ThrottleScope::Provider);
                later.push((grant, now + wait));
            }
        }
    }
    status.put_off += later.len() as u64;
    ctx.store.put_off_grants(&later).await?;
    Ok(first)
}

/// How many batches the queue may still take.
async fn room(ctx: &Context) -> usize {
    match ctx.queue.depth(Urgency::Refresh).await {
        Ok(depth) => QUEUED_MAX.saturating_sub(depth.entries),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "queue not reached");
            0
        }
    }
}

/// Pushes one batch; `false` if the queue takes no more. Its grants come again with the next pass.
async fn push(ctx: &Context, due: &[DueGrant]) -> bool {
    let kind = RefreshGrants {
        grants: due
            .iter()
            .map(|due| (due.grant.partner_id, due.grant.id))
            .collect(),
        asked: false,
    };
    let now = ctx.now();
    let Some(first) = due.first() else {
        return true;
    };
    let id = JobId::new(now, &*ctx.entropy);
    let job = match Job::new(id, first.grant.partner_id, &kind, now) {
        Ok(job) => job,
        Err(error) => {
            // Ids always serialize.
            tracing::error!(error = %Chain(&error), "batch not written");
            return true;
        }
    };
    match ctx.queue.push(job).await {
        Ok(()) => true,
        Err(PushError::Full { .. }) => {
            ctx.metrics.throttled(ThrottleScope::Queue);
            false
        }
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "batch not pushed");
            false
        }
    }
}
