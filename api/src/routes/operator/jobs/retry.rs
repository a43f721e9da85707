//! `POST /operator/jobs/{id}/retry`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{RequestId, states::JobState};
use latchkey_jobs::{Job, JobKind, Urgency, kinds::ProviderCall};
use latchkey_store::{JobRow, JsonMap};

use super::{OperatorJob, find_job};
use crate::{
    audit::{self, Change},
    durable,
    error::{ApiError, Code},
    extract::{Id, Path},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Give a failed job its attempts once more
///
/// A call whose request was sent and whose answer was lost is not repeated.
#[utoipa::path(post, path = "/operator/jobs/{job_id}/retry", tag = "jobs",
    params(("job_id" = String, Path, description = "Its id (`job_…`)")),
    responses((status = 200, body = Envelope<OperatorJob>)))]
pub(crate) async fn retry_job(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(job): Path<String>,
) -> Result<Reply<OperatorJob>> {
    let row = find_job(&api, &job).await?;
    if let Some(reason) = refusal(&row) {
        return Err(ApiError::new(Code::Conflict, reason));
    }
    if !api.ctx.store.retry_job(&row, api.ctx.now()).await? {
        return Err(ApiError::new(
            Code::Conflict,
            "The job has just changed. Look again.",
        ));
    }
    let change = Change {
        partner: row.partner_id,
        action: "job.retry",
        subject: &job,
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    if let Some(wake_up) = wake_up(&api, &row, request_id) {
        durable::push(&api, wake_up).await;
    }
    Ok(Reply(OperatorJob::from(&find_job(&api, &job).await?)))
}

/// Why it may not run again.
fn refusal(row: &JobRow) -> Option<String> {
    if row.state != JobState::Failed {
        return Some(format!(
            "A job that is {} cannot be retried; one that failed can.",
            row.state
        ));
    }
    if row.error_code.as_deref() == Some("OUTCOME_UNKNOWN") {
        return Some(
            "Its request was sent and the answer was lost. It is not sent again.".to_owned(),
        );
    }
    if row.kind == ProviderCall::KIND && row.sealed.is_none() {
        return Some("Its request is no longer kept.".to_owned());
    }
    None
}

/// A queue that knows no such urgency any more is left to the scheduler.
fn wake_up(api: &Api, row: &JobRow, request_id: RequestId) -> Option<Job> {
    Some(Job {
        id: row.id,
        kind: row.kind.clone(),
        urgency: Urgency::parse(&row.urgency)?,
        partner: row.partner_id,
        payload: row.payload.clone(),
        sealed: None,
        reply_to: None,
        deadline: None,
        durable: true,
        queued_at: api.ctx.now(),
        request_id: Some(request_id),
    })
}
