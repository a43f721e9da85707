//! `POST /operator/jobs/{id}/cancel`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;

use super::{OperatorJob, find_job};
use crate::{
    audit::{self, Change},
    extract::{Id, Path},
    reply::{Envelope, Reply, Result},
    routes::jobs::cancel::cancel,
    state::Api,
};

/// Stop a call before it begins
///
/// Calls alone can be canceled: other jobs have to come to an end of their own.
#[utoipa::path(post, path = "/operator/jobs/{job_id}/cancel", tag = "jobs",
    params(("job_id" = String, Path, description = "Its id (`job_…`)")),
    responses((status = 200, body = Envelope<OperatorJob>)))]
pub(crate) async fn cancel_job(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(job): Path<String>,
) -> Result<Reply<OperatorJob>> {
    let row = find_job(&api, &job).await?;
    let partner = row.partner_id;
    let row = cancel(&api, row, request_id).await?;
    let change = Change {
        partner,
        action: "job.cancel",
        subject: &job,
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(OperatorJob::from(&row)))
}
