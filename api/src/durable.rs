//! Durable jobs from requests: the row first, then the wake-up. A wake-up that is lost or refused costs
//! time only: the scheduler pushes the row again at its `wake_at`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use latchkey_domain::{JobId, PartnerId, RequestId, states::JobState};
use latchkey_jobs::{Job, JobKind, PushError, Urgency, kinds::RevokeGrant};
use latchkey_store::{Connection, JobRow};
use latchkey_telemetry::Chain;

use crate::{error::ApiError, state::Api};

/// When the scheduler pushes a job that was pushed once and is still queued: the wake-up was lost then.
const WAKE_AGAIN: Duration = Duration::from_secs(15);
/// For how long a queue counts as full: the scheduler pushes what waits as often (`scheduler.release_ms`).
const FULL_FOR: Duration = Duration::from_millis(250);

/// The row of a job of this kind that begins now and that its partner does not see.
pub(crate) fn row<K: JobKind>(
    api: &Api,
    partner: PartnerId,
    request_id: RequestId,
    kind: &K,
) -> Result<JobRow, ApiError> {
    let now = api.ctx.now();
    let job = Job::new(JobId::new(now, &*api.ctx.entropy), partner, kind, now)?;
    Ok(JobRow {
        id: job.id,
        partner_id: partner,
        kind: job.kind,
        urgency: job.urgency.as_str().to_owned(),
        state: JobState::Queued,
        visible: false,
        account_id: None,
        provider: None,
        service: None,
        action: None,
        payload: job.payload,
        sealed: None,
        result: None,
        error_code: None,
        error: None,
        attempts: 0,
        run_at: now,
        // Whoever makes the row pushes it.
        wake_at: Some(now + WAKE_AGAIN),
        dispatched_at: Some(now),
        claim: None,
        lease_until: None,
        deadline_at: None,
        request_id: Some(request_id.to_string()),
        created_at: now,
        started_at: None,
        completed_at: None,
        expires_at: None,
        then_job: None,
        history: None,
        lost: 0,
        forgiven: 0,
    })
}

/// The wake-up of a row. Nothing sealed travels: the worker reads the row.
pub(crate) fn wake_up<K: JobKind>(api: &Api, row: &JobRow, request_id: RequestId) -> Job {
    Job {
        id: row.id,
        kind: row.kind.clone(),
        urgency: K::URGENCY,
        partner: row.partner_id,
        payload: row.payload.clone(),
        sealed: None,
        reply_to: None,
        deadline: None,
        durable: true,
        queued_at: api.ctx.now(),
        request_id: Some(request_id),
    }
}

/// Pushes a wake-up. A queue that is full or away is no error: the row is there. From a full one the scheduler takes it
/// over at once, as soon as there is room.
pub(crate) async fn push(api: &Api, job: Job) {
    let (id, partner, urgency) = (job.id, job.partner, job.urgency);
    let Err(error) = api.ctx.queue.push(job).await else {
        return;
    };
    tracing::info!(job_id = %id, error = %Chain(&error), "the scheduler will push this job");
    if let PushError::Full { .. } = error {
        api.full_lanes.note(urgency, api.ctx.clock.monotonic());
        let left = api.ctx.store.leave_job(partner, id, api.ctx.now()).await;
        if let Err(error) = left {
            tracing::info!(job_id = %id, error = %Chain(&error), "it is pushed when its wake-up counts as lost");
        }
    }
}

/// Which queues had no room a moment ago, by urgency: until when nothing is pushed to them, in monotonic ms.
#[derive(Debug, Default)]
pub(crate) struct FullLanes([AtomicU64; 3]);

impl FullLanes {
    fn note(&self, urgency: Urgency, now: Duration) {
        self.0[urgency as usize].store(millis(now + FULL_FOR), Ordering::Relaxed);
    }

    /// Whether a push now would most likely be refused.
    pub(crate) fn has(&self, urgency: Urgency, now: Duration) -> bool {
        millis(now) < self.0[urgency as usize].load(Ordering::Relaxed)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Makes and pushes the job that revokes a disconnected connection at its provider. The partner sees it
/// under `/jobs`, with the receipt.
pub(crate) async fn revoke(
    api: &Api,
    connection: &Connection,
    request_id: RequestId,
) -> Result<JobId, ApiError> {
    let kind = RevokeGrant {
        grant: connection.grant.id,
        connection: connection.row.id,
    };
    let row = JobRow {
        visible: true,
        account_id: Some(connection.row.account_id),
        provider: Some(connection.row.provider.clone()),
        action: Some("revoke".to_owned()),
        ..row(api, connection.row.partner_id, request_id, &kind)?
    };
    let job = wake_up::<RevokeGrant>(api, &row, request_id);
    let id = row.id;
    api.ctx.store.insert_job(row).await?;
    push(api, job).await;
    Ok(id)
}
