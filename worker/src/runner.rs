//! What stands around every handler, once: the span of its log lines, the deadline, the claim on its row,
//! the attempts counted there before any work, the kind's time-out, the guard against panics, the outcome
//! written back, and the metrics. A handler only names its outcome, and the queue is always told "done".

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use latchkey_domain::{AttemptId, JobId, Timestamp};
use latchkey_jobs::{
    Job, JobKind, KindInfo, MOST_LOST, Outcome, Urgency,
    kinds::{DeliverCallback, ProviderCall, deliver_callback::CallEnd},
};
use latchkey_runtime::Context;
use latchkey_store::{ClaimedJob, CompleteJob, HeldJob, JobClaim, JobEnd, ReleaseJob, SUSPECT};
use latchkey_telemetry::{Chain, JobEnd as EndLabel, job_span, request_span};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument, Span};

use crate::{
    Worker,
    fault::point,
    register::{self, Entry},
};

/// How long a suspect waits here for its turn, then in its row: others need the slot.
const SUSPECT_WAIT: Duration = Duration::from_secs(1);

/// One attempt at one job, claimed if it is durable.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The job. For a durable one payload and sealed request are the row's, not the message's.
    pub(crate) job: Job,
    /// Which attempt, from 1. Snoozes do not count.
    pub(crate) number: u32,
    /// Whether no other follows.
    pub(crate) is_last: bool,
    /// How often a worker was lost at it.
    lost: u32,
    /// Attempts that count: those before the operator revived it do not.
    spent: u32,
    /// Whether the operator gave it another life: earlier ones may have left receipts.
    pub(crate) revived: bool,
    /// When the job was accepted.
    pub(crate) accepted_at: Timestamp,
    /// How long it waited since it could have run.
    pub(crate) queued: Duration,
    /// How long it was held back before that: limits, and waits between attempts.
    pub(crate) held: Duration,
    claim: Option<AttemptId>,
    /// Whether its partner sees it, and may wait for its end.
    visible: bool,
    /// The job that is held until this one has ended.
    then_job: Option<JobId>,
}

impl Attempt {
    /// Its claim, if it is durable.
    fn held_job(&self) -> Option<HeldJob> {
        Some(HeldJob {
            partner_id: self.job.partner,
            job_id: self.job.id,
            claim: self.claim?,
        })
    }
}

/// When the scheduler pushes a released job, if the push that follows its release was lost.
const WAKE_AGAIN: Duration = Duration::from_secs(15);

/// How a job failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What programs read.
    pub(crate) code: String,
    /// What people read.
    pub(crate) error: String,
    /// An answer worth keeping all the same, sealed.
    pub(crate) result: Option<Vec<u8>>,
}

/// Runs a fetched job to its end, whatever that end is.
pub(crate) async fn run(worker: Arc<Worker>, job: Job) {
    let entry = register::find(&job.kind);
    run_as(worker, entry, job).await;
}

/// Runs a job with this handler; without one it is drained.
pub(crate) async fn run_as(worker: Arc<Worker>, entry: Option<Entry>, job: Job) {
    let info = entry.map_or_else(|| retired(&job), |entry| (entry.info)());
    let Some(attempt) = begin(&worker.ctx, &info, job).await else {
        worker
            .ctx
            .metrics
            .job_ended(info.kind, EndLabel::Skipped, Duration::ZERO);
        return;
    };
    let span = span(&attempt);
    let _held = attempt.held_job().map(|held| worker.leases.hold(held));
    execute(&worker, entry, &info, Arc::new(attempt))
        .instrument(span)
        .await;
}

/// The constants of a kind that this build does not know: its jobs are drained, one failure each.
fn retired(job: &Job) -> KindInfo {
    KindInfo {
        kind: "retired",
        urgency: job.urgency,
        timeout: Duration::from_secs(1),
        max_attempts: 1,
        backoff: latchkey_domain::backoff::Backoff::REFRESH,
    }
}

fn span(attempt: &Attempt) -> Span {
    let job = &attempt.job;
    let inner = || job_span(job.id, &job.kind, attempt.number);
    match job.request_id {
        Some(request) => request_span(request).in_scope(inner),
        None => inner(),
    }
}

/// Claims the job, or says that there is nothing to do: a duplicate, or one that nobody waits for any more.
async fn begin(ctx: &Context, info: &KindInfo, job: Job) -> Option<Attempt> {
    let now = ctx.now();
    if !job.durable {
        if job.deadline.is_some_and(|deadline| deadline <= now) {
            tracing::info!(job_id = %job.id, kind = job.kind, "dropped: its caller waits no more");
            return None;
        }
        return Some(Attempt {
            number: 1,
            is_last: true,
            lost: 0,
            spent: 1,
            revived: false,
            accepted_at: job.queued_at,
            queued: now.since(job.queued_at),
            held: Duration::ZERO,
            claim: None,
            visible: false,
            then_job: None,
            job,
        });
    }
    let claim = AttemptId::new(now, &*ctx.entropy);
    let wanted = JobClaim {
        partner_id: job.partner,
        job_id: job.id,
        claim,
        lease: ctx.config.worker.job_lease,
    };
    match ctx.store.claim_job(wanted).await {
        Ok(row) => row.map(|row| claimed(row, job, info, claim, now)),
        Err(error) => {
            // The row is as it was; the reconciler sends it again.
            tracing::warn!(job_id = %job.id, error = %Chain(&error), "a job could not be claimed");
            None
        }
    }
}

fn claimed(
    row: ClaimedJob,
    job: Job,
    info: &KindInfo,
    claim: AttemptId,
    now: Timestamp,
) -> Attempt {
    let spent = row.attempts.saturating_sub(row.forgiven);
    Attempt {
        number: row.attempts,
        is_last: spent >= info.max_attempts || row.lost >= MOST_LOST,
        lost: row.lost,
        spent,
        revived: row.forgiven > 0,
        accepted_at: row.created_at,
        queued: now.since(row.run_at),
        held: row.run_at.since(row.created_at),
        claim: Some(claim),
        visible: row.visible,
        then_job: row.then_job,
        job: Job {
            payload: row.payload,
            sealed: row.sealed,
            deadline: row.deadline_at,
            request_id: row.request_id.and_then(|id| id.parse().ok()),
            ..job
        },
    }
}

/// Runs the handler, and writes what came of it.
async fn execute(
    worker: &Arc<Worker>,
    entry: Option<Entry>,
    info: &KindInfo,
    attempt: Arc<Attempt>,
) {
    let ctx = &worker.ctx;
    ctx.metrics.job_began(info.kind, attempt.queued);
    point("job::claimed");
    let began = ctx.clock.monotonic();
    // Held until the outcome is in the row.
    let mut alone = None;
    let outcome = match entry {
        Some(entry) => {
            let outcome = outcome(worker, entry, info, &attempt, &mut alone).await;
            settle(worker, entry, &attempt, outcome).await
        }
        None => Outcome::fail(
            "INTERNAL",
            "this version has no handler for this kind of job",
        ),
    };
    point("job::ended");
    let label = label(&outcome);
    let took = ctx.clock.monotonic().saturating_sub(began);
    log(&outcome, took);
    if let Some(claim) = attempt.claim {
        write(ctx, info, &attempt, claim, outcome).await;
    }
    drop(alone);
    ctx.metrics.job_ended(info.kind, label, took);
}

/// Suspects run one at a time: should one end the process again, no other is taken along. One that only waits for
/// its turn may still hold a claim then, so the row says which of them ran.
async fn turn(worker: &Worker, attempt: &Attempt) -> Result<OwnedSemaphorePermit, Outcome> {
    let later = |reason: &str| Outcome::Snooze {
        until: worker.ctx.now() + SUSPECT_WAIT,
        reason: reason.to_owned(),
    };
    let permit = Arc::clone(&worker.suspects).acquire_owned();
    let permit = tokio::time::timeout(SUSPECT_WAIT, permit).await;
    // The semaphore is never closed.
    let Ok(Ok(permit)) = permit else {
        return Err(later("another job that lost its workers runs"));
    };
    if let Some(held) = attempt.held_job() {
        match worker.ctx.store.runs_alone(held).await {
            Ok(true) => {}
            Ok(false) => return Err(later("the claim was lost")),
            Err(error) => return Err(later(&Chain(&error).to_string())),
        }
    }
    Ok(permit)
}

async fn outcome(
    worker: &Arc<Worker>,
    entry: Entry,
    info: &KindInfo,
    attempt: &Arc<Attempt>,
    alone: &mut Option<OwnedSemaphorePermit>,
) -> Outcome {
    if attempt.lost >= MOST_LOST {
        let said = format!(
            "its worker process ended {} times while it ran",
            attempt.lost
        );
        return Outcome::retry("INTERNAL", said);
    }
    if attempt.spent > info.max_attempts {
        return Outcome::retry("INTERNAL", "the process ended during its last attempt");
    }
    if attempt.lost >= SUSPECT {
        match turn(worker, attempt).await {
            Ok(permit) => *alone = Some(permit),
            Err(later) => return later,
        }
    }
    if attempt
        .job
        .deadline
        .is_some_and(|deadline| deadline <= worker.ctx.now())
    {
        return Outcome::fail("DEADLINE", "it did not begin before its deadline");
    }
    let work = (entry.run)(Arc::clone(worker), Arc::clone(attempt));
    match tokio::time::timeout(info.timeout, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        // What the panic says may hold a secret, so it is not repeated here.
        Ok(Err(_)) => Outcome::retry("INTERNAL", "its handler panicked"),
        Err(_) => Outcome::retry(
            "INTERNAL",
            format!("it took longer than {:?}", info.timeout),
        ),
    }
}

/// Turns a failure that nothing follows into the end of the job.
async fn settle(
    worker: &Arc<Worker>,
    entry: Entry,
    attempt: &Arc<Attempt>,
    outcome: Outcome,
) -> Outcome {
    let failure = match outcome {
        Outcome::Retry { code, error, .. } if attempt.is_last => Failure {
            // A job that lost too many workers was not begun once more.
            error: match attempt.spent - u32::from(attempt.lost >= MOST_LOST) {
                1 => error,
                n => format!("gave up after {n} attempts; the last: {error}"),
            },
            code,
            result: None,
        },
        // Without a row there is nothing to come back from.
        Outcome::Snooze { reason, .. } if attempt.claim.is_none() => Failure {
            code: "INTERNAL".to_owned(),
            error: reason,
            result: None,
        },
        other => return other,
    };
    let gave_up = (entry.gave_up)(Arc::clone(worker), Arc::clone(attempt), failure.clone());
    let failure = match AssertUnwindSafe(gave_up).catch_unwind().await {
        Ok(failure) => failure,
        Err(_) => failure,
    };
    Outcome::Fail {
        code: failure.code,
        error: failure.error,
        result: failure.result,
    }
}

/// Writes the outcome into the job's row, if the claim still holds.
async fn write(
    ctx: &Context,
    info: &KindInfo,
    attempt: &Attempt,
    claim: AttemptId,
    outcome: Outcome,
) {
    let now = ctx.now();
    let expires_at = Some(now + ctx.config.calls.result_retention);
    let end = match outcome {
        Outcome::Done(result) => JobEnd::Completed { result, expires_at },
        Outcome::Fail {
            code,
            error,
            result,
        } => JobEnd::Failed {
            error_code: code,
            error,
            result,
            expires_at,
        },
        Outcome::Retry { after, code, error } => JobEnd::Retry {
            run_at: now + after.unwrap_or_else(|| info.backoff.wait(attempt.spent, &*ctx.entropy)),
            error_code: code,
            error,
        },
        Outcome::Snooze { until, .. } => JobEnd::Snooze { run_at: until },
    };
    let complete = CompleteJob {
        partner_id: attempt.job.partner,
        job_id: attempt.job.id,
        claim,
        release: release(attempt, &end, now),
        end,
        now,
    };
    let released = complete.release.as_ref().map(|held| held.job_id);
    match ctx.store.complete_job(complete).await {
        Ok(true) => {
            if attempt.visible {
                ctx.signals.publish(attempt.job.id.as_u128()).await;
            }
            if let Some(held) = released {
                wake(ctx, attempt, held, now).await;
            }
        }
        Ok(false) => tracing::warn!("the claim on the job had run out; its outcome was not kept"),
        // Its lease ends, and it runs again: handlers stand that.
        Err(error) => {
            tracing::error!(error = %Chain(&error), "a job's outcome could not be written");
        }
    }
}

/// Lets the job go that is held until this one has ended, if this is its end.
fn release(attempt: &Attempt, end: &JobEnd, now: Timestamp) -> Option<ReleaseJob> {
    let held = attempt.then_job?;
    let (status, error_code, error) = match end {
        JobEnd::Completed { .. } => ("completed", None, None),
        JobEnd::Failed {
            error_code, error, ..
        } => ("failed", Some(error_code.clone()), Some(error.clone())),
        JobEnd::Retry { .. } | JobEnd::Snooze { .. } => return None,
    };
    // Only calls have one that follows.
    let call: ProviderCall = attempt.job.payload().ok()?;
    let callback = DeliverCallback::of(attempt.job.id, &call, attempt.accepted_at);
    let callback = callback.ended(CallEnd {
        status: status.to_owned(),
        at: now,
        error_code,
        error,
    });
    Some(ReleaseJob {
        job_id: held,
        payload: serde_json::to_string(&callback).ok()?,
        wake_at: now + WAKE_AGAIN,
    })
}

/// Pushes a released job. A queue that is full or away is no error: the scheduler pushes it later.
async fn wake(ctx: &Context, attempt: &Attempt, held: JobId, now: Timestamp) {
    let job = Job {
        id: held,
        kind: DeliverCallback::KIND.to_owned(),
        urgency: Urgency::Background,
        partner: attempt.job.partner,
        payload: String::new(),
        sealed: None,
        reply_to: None,
        deadline: None,
        durable: true,
        queued_at: now,
        request_id: attempt.job.request_id,
    };
    if let Err(error) = ctx.queue.push(job).await {
        tracing::info!(job_id = %held, error = %Chain(&error), "the scheduler will push this job");
    }
}

fn label(outcome: &Outcome) -> EndLabel {
    match outcome {
        Outcome::Done(_) => EndLabel::Done,
        Outcome::Retry { .. } => EndLabel::Retry,
        Outcome::Snooze { .. } => EndLabel::Snooze,
        Outcome::Fail { .. } => EndLabel::Fail,
    }
}

fn log(outcome: &Outcome, took: Duration) {
    match outcome {
        // One line for each of thousands a second: the request that asked for it has one.
        Outcome::Done(_) => tracing::debug!(?took, "done"),
        Outcome::Retry { code, error, .. } => {
            tracing::warn!(?took, code, error, "to be tried again");
        }
        Outcome::Snooze { until, reason } => tracing::debug!(?took, %until, reason, "snoozed"),
        Outcome::Fail { code, error, .. } => tracing::warn!(?took, code, error, "failed"),
    }
}
