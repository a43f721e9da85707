//! `DELETE /jobs/{id}`: stops a call that has not begun.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use latchkey_domain::{RequestId, states::JobState};
use latchkey_jobs::{
    JobKind, Urgency,
    kinds::{DeliverCallback, ProviderCall, deliver_callback::CallEnd},
};
use latchkey_store::{JobRow, ReleaseJob};

use super::{JobSummary, find};
use crate::{
    auth::Partner,
    durable,
    error::{ApiError, Code},
    extract::{Id, Path},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// When the scheduler pushes a callback whose wake-up was lost.
const WAKE_AGAIN: Duration = Duration::from_secs(15);

/// Cancel a job
///
/// Calls alone can be canceled, and only before they begin. What was canceled is not sent and not billed; a
/// `callback_url` is told. Canceling again is no error.
#[utoipa::path(delete, path = "/api/v1/jobs/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, description = "The job's id")),
    responses((status = 200, body = Envelope<JobSummary>)))]
pub(crate) async fn cancel_job(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request): Id,
    Path(job): Path<String>,
) -> Result<Reply<JobSummary>> {
    let row = find(&api, &partner, &job).await?;
    let row = cancel(&api, row, request).await?;
    Ok(Reply(JobSummary::of(&row)))
}

/// Cancels a call that has not begun, whoever asks for it; its row.
pub(crate) async fn cancel(api: &Api, row: JobRow, request: RequestId) -> Result<JobRow> {
    if row.state == JobState::Canceled {
        return Ok(row);
    }
    if row.kind != ProviderCall::KIND {
        return Err(refused("Only calls can be canceled."));
    }
    let ctx = &api.ctx;
    let (now, kept) = (ctx.now(), ctx.config.calls.result_retention);
    let release = release(api, &row)?;
    let canceled = ctx
        .store
        .cancel_job(row.partner_id, row.id, now + kept, release.as_ref(), now);
    if !canceled.await? {
        return Err(refused("This call has begun, so it cannot be canceled."));
    }
    ctx.signals.publish(row.id.as_u128()).await;
    if let Some(held) = &release {
        let held = JobRow {
            id: held.job_id,
            kind: DeliverCallback::KIND.to_owned(),
            ..row.clone()
        };
        let mut job = durable::wake_up::<DeliverCallback>(api, &held, request);
        job.urgency = Urgency::Background;
        durable::push(api, job).await;
    }
    Ok(JobRow {
        state: JobState::Canceled,
        completed_at: Some(now),
        ..row
    })
}

fn refused(text: &str) -> ApiError {
    ApiError::new(Code::Conflict, text)
}

/// What lets the callback of a canceled call go, if it has one.
fn release(api: &Api, row: &JobRow) -> Result<Option<ReleaseJob>> {
    let Some(job_id) = row.then_job else {
        return Ok(None);
    };
    let now = api.ctx.now();
    let call: ProviderCall = serde_json::from_str(&row.payload).map_err(ApiError::internal)?;
    let callback = DeliverCallback::of(row.id, &call, row.created_at).ended(CallEnd {
        status: "canceled".to_owned(),
        at: now,
        error_code: None,
        error: None,
    });
    Ok(Some(ReleaseJob {
        job_id,
        payload: serde_json::to_string(&callback).map_err(ApiError::internal)?,
        wake_at: now + WAKE_AGAIN,
    }))
}
