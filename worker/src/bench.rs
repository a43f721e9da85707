//! For `latchkey bench`: jobs that claim and complete their row and do nothing else, through the runner that
//! every job goes through. No server has this kind of job: its handler is in the measuring process alone.

use std::time::Duration;

use latchkey_domain::{JobId, PartnerId, backoff::Backoff, states::JobState};
use latchkey_jobs::{Execute, Job, JobKind, Outcome, PayloadError, Urgency};
use latchkey_runtime::Context;
use latchkey_store::JobRow;
use serde::{Deserialize, Serialize};

use crate::{
    Worker, WorkerError,
    register::{Handler, entry},
    runner::{self, Attempt},
};

/// Nothing to do.
#[derive(Serialize, Deserialize)]
struct Nothing {}

impl JobKind for Nothing {
    const KIND: &'static str = "nothing";
    const URGENCY: Urgency = Urgency::Interactive;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_ATTEMPTS: u32 = 3;
    const BACKOFF: Backoff = Backoff::REFRESH;
}

impl Handler for Nothing {
    fn run(self, _: &Worker, _: &Attempt) -> impl Future<Output = Outcome> + Send {
        std::future::ready(Outcome::DONE)
    }
}

/// What runs such jobs.
///
/// # Errors
/// [`WorkerError`] when the worker's journal does not open.
pub async fn execute(ctx: Context) -> Result<Execute, WorkerError> {
    let worker = Worker::open(ctx).await?;
    Ok(Execute::new(move |job| {
        Box::pin(runner::run_as(
            worker.clone(),
            Some(entry::<Nothing>()),
            job,
        ))
    }))
}

/// A job with its row, as it is inserted before it is pushed.
///
/// # Errors
/// [`PayloadError`], which an empty payload does not give.
pub fn job(ctx: &Context, partner: PartnerId) -> Result<(JobRow, Job), PayloadError> {
    let now = ctx.now();
    let id = JobId::new(now, &*ctx.entropy);
    let mut job = Job::new(id, partner, &Nothing {}, now)?;
    job.durable = true;
    let row = JobRow {
        id,
        partner_id: partner,
        kind: job.kind.clone(),
        urgency: job.urgency.as_str().to_owned(),
        state: JobState::Queued,
        visible: false,
        account_id: None,
        provider: None,
        service: None,
        action: None,
        payload: job.payload.clone(),
        sealed: None,
        result: None,
        error_code: None,
        error: None,
        attempts: 0,
        run_at: now,
        wake_at: None,
        dispatched_at: Some(now),
        claim: None,
        lease_until: None,
        deadline_at: None,
        request_id: None,
        created_at: now,
        started_at: None,
        completed_at: None,
        expires_at: None,
        then_job: None,
        history: None,
        lost: 0,
        forgiven: 0,
    };
    Ok((row, job))
}
