//! Finds work whose wake-up was lost or whose worker died, by its rows alone, and sends it again:
//!
//! - everything that waits, where the queue's server lost what it held (another epoch);
//! - jobs that are ready and that nobody pushed lately, fair among partners, as far as the queue has room;
//! - jobs whose claim ran out, back into the queue;
//! - jobs that did not begin before their deadline: failed;
//! - receipts still `sent` long after any answer could come: their outcome is unknown for good;
//! - disconnected grants that no revocation has reached: one more job for each.
//!
//! Claims absorb what is sent twice.

use std::time::Duration;

use futures::future::join_all;
use latchkey_domain::{
    JobId, Timestamp, entropy,
    states::{CallOutcome, JobState},
};
use latchkey_jobs::{
    Job, JobKind, PushError, Urgency,
    kinds::{self, ProviderCall, RefreshGrants},
};
use latchkey_runtime::{Config, Context, revocation};
use latchkey_store::{CallRow, FinishCall, GrantRow, JobRef, StoreError};
use latchkey_telemetry::{Chain, ThrottleScope};
use serde::Serialize;

use super::{BATCH, MAX_BATCHES, in_batches};
use crate::{
    cadence::{Cadence, CronError},
    driver::Task,
};

/// A job that was pushed and is still queued is pushed again after this: longer than a full queue takes to
/// drain, since most that are still queued then simply wait their turn.
const AGAIN_AFTER: Duration = Duration::from_secs(120);
/// How long after its last possible answer an unsafe call's receipt may take to be written.
const RECEIPT_ROOM: Duration = Duration::from_secs(60);
/// Jobs pushed at once: one after the other, a backlog would come as fast as Redis answers each.
const AT_ONCE: usize = 64;
/// A disconnected grant that is not revoked after this has lost its job, or the job is at its retries.
const REVOKE_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// See the module.
pub(crate) struct RequeueStuck;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Jobs pushed.
    pushed: u64,
    /// Whether the queue had no room for more.
    queue_full: bool,
    /// Jobs whose worker died.
    requeued: u64,
    /// Jobs that missed their deadline.
    overdue: u64,
    /// Jobs and grants that wait for another wake-up because the queue lost the first.
    lost: u64,
    /// Receipts whose outcome is unknown for good.
    unknown_calls: u64,
    /// Revocations that were asked for again.
    revocations: u64,
}

impl Task for RequeueStuck {
    const NAME: &'static str = "requeue_stuck";
    type Status = Status;

    fn cadence(config: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(config.scheduler.requeue))
    }

    async fn run(ctx: &Context) -> Result<Status, StoreError> {
        let store = &ctx.store;
        let now = store.db_now().await?;
        let count = |rows: Vec<JobRef>| rows.len() as u64;
        let lost = after_a_loss(ctx, now).await?;
        let overdue = in_batches(async || store.fail_overdue_jobs(now, BATCH).await.map(count));
        let requeued = in_batches(async || store.requeue_stuck_jobs(now, BATCH).await.map(count));
        let mut status = Status {
            lost,
            overdue: overdue.await?,
            requeued: requeued.await?,
            unknown_calls: in_batches(|| end_orphaned_calls(ctx, now)).await?,
            revocations: revoke_again(ctx, now).await?,
            ..Status::default()
        };
        for urgency in Urgency::ALL {
            let released = push_ready(ctx, urgency, now).await?;
            status.pushed += released.pushed;
            status.queue_full |= released.queue_full;
        }
        show_backlog(ctx, now).await?;
        Ok(status)
    }
}

/// Finds out whether the queue lost what it held; how much is to be pushed again. A queue that is away is asked
/// at the next tick.
async fn after_a_loss(ctx: &Context, now: Timestamp) -> Result<u64, StoreError> {
    let epoch = match ctx.queue.epoch().await {
        Ok(Some(epoch)) => epoch,
        Ok(None) => return Ok(0),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "queue not reached");
            return Ok(0);
        }
    };
    let lost = ctx.store.note_queue_epoch(&epoch, now).await?.unwrap_or(0);
    if lost > 0 {
        tracing::warn!(lost, "the queue lost what it held; it is pushed again");
    }
    Ok(lost)
}

/// What was pushed.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pushed {
    /// Jobs.
    pub(crate) pushed: u64,
    /// Whether the queue had no room for more.
    pub(crate) queue_full: bool,
}

/// Pushes jobs of one urgency until none is ready or the queue is full.
pub(super) async fn push_ready(
    ctx: &Context,
    urgency: Urgency,
    now: Timestamp,
) -> Result<Pushed, StoreError> {
    let mut status = Pushed::default();
    for _ in 0..MAX_BATCHES {
        let ready = ctx
            .store
            .undispatched_jobs(urgency.as_str(), now, BATCH)
            .await?;
        let mut pushed = Vec::with_capacity(ready.len());
        for part in ready.chunks(AT_ONCE) {
            let refused = push_part(ctx, part, urgency, now, &mut pushed).await;
            if let Some(error) = refused {
                if let PushError::Full { .. } = error {
                    ctx.metrics.throttled(ThrottleScope::Queue);
                } else {
                    tracing::warn!(error = %Chain(&error), "queue not reached");
                }
                status.queue_full = true;
                break;
            }
        }
        if !pushed.is_empty() {
            ctx.store
                .mark_dispatched(&pushed, now, now + AGAIN_AFTER)
                .await?;
        }
        status.pushed += pushed.len() as u64;
        if status.queue_full || ready.len() < BATCH as usize {
            break;
        }
    }
    Ok(status)
}

/// Pushes these jobs at once, in their order; says why one of them was refused.
async fn push_part(
    ctx: &Context,
    jobs: &[JobRef],
    urgency: Urgency,
    now: Timestamp,
    pushed: &mut Vec<JobRef>,
) -> Option<PushError> {
    let pushes = jobs
        .iter()
        .map(|job| ctx.queue.push(wake_up(job, urgency, now)));
    let mut refused = None;
    for (job, outcome) in jobs.iter().zip(join_all(pushes).await) {
        match outcome {
            Ok(()) => pushed.push(job.clone()),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused
}

/// What wakes a worker for a job: its row has everything else.
fn wake_up(job: &JobRef, urgency: Urgency, now: Timestamp) -> Job {
    Job {
        id: job.id,
        kind: job.kind.clone(),
        urgency,
        partner: job.partner_id,
        payload: String::new(),
        sealed: None,
        reply_to: None,
        deadline: None,
        durable: true,
        queued_at: now,
        request_id: None,
    }
}

/// Ends receipts whose sender died: the request may have arrived, so it counts, and is never repeated.
async fn end_orphaned_calls(ctx: &Context, now: Timestamp) -> Result<u64, StoreError> {
    let longest = ProviderCall::info()
        .longest()
        .max(ctx.config.calls.timeout + RECEIPT_ROOM);
    let orphans = ctx.store.orphaned_calls(now.minus(longest), BATCH).await?;
    let ends = orphans
        .iter()
        .map(|call| ctx.store.finish_unsafe_call(unknown(call, now)));
    futures::future::try_join_all(ends).await?;
    Ok(orphans.len() as u64)
}

fn unknown(call: &CallRow, now: Timestamp) -> FinishCall {
    FinishCall {
        partner_id: call.partner_id,
        call_id: call.id,
        outcome: CallOutcome::Unknown,
        status: None,
        billed: CallOutcome::Unknown.is_billed() && call.not_billed_reason.is_none(),
        not_billed_reason: call.not_billed_reason.clone(),
        bytes_in: call.bytes_in,
        bytes_out: call.bytes_out,
        provider_time: call.provider_time,
        completed_at: now,
        quota_block: None,
    }
}

/// Asks once more for the revocation of grants that were disconnected long ago. Once for each version of a
/// grant: the job's id follows from them, and it has its own retries.
async fn revoke_again(ctx: &Context, now: Timestamp) -> Result<u64, StoreError> {
    let late = now.minus(REVOKE_AGAIN_AFTER);
    let mut asked = 0;
    for grant in ctx.store.revoking_grants(BATCH).await? {
        // The longest waiting come first.
        if grant.updated_at > late {
            break;
        }
        if let Some(id) = revocation_id(&grant)
            && let Ok((_, row)) = revocation(id, &grant, now)
            && ctx.store.insert_job(row).await?
        {
            asked += 1;
        }
    }
    Ok(asked)
}

/// The same id for the same version of a grant.
fn revocation_id(grant: &GrantRow) -> Option<JobId> {
    let bits = grant.id.as_u128();
    let low = u64::try_from(bits & u128::from(u64::MAX)).ok()?;
    let low = entropy::mix(low ^ grant.version.unsigned_abs());
    Some(JobId::from_u128((bits >> 64 << 64) | u128::from(low)))
}

/// Shows how much waits, by kind: in rows, and for batches of grants, which have none, in their queue.
async fn show_backlog(ctx: &Context, now: Timestamp) -> Result<(), StoreError> {
    let counts = ctx.store.count_jobs().await?;
    for kind in kinds::all() {
        if kind.kind == RefreshGrants::KIND {
            if let Ok(depth) = ctx.queue.depth(kind.urgency).await {
                ctx.metrics
                    .queue(kind.kind, depth.entries as u64, depth.oldest);
            }
            continue;
        }
        let waiting = counts
            .iter()
            .find(|count| count.kind == kind.kind && count.state == JobState::Queued);
        let (depth, oldest) = waiting.map_or((0, Duration::ZERO), |waiting| {
            (waiting.count, waiting.oldest.until(now))
        });
        ctx.metrics.queue(kind.kind, depth, oldest);
    }
    Ok(())
}
