//! `GET /jobs/{id}`: how a job goes, and what came of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header::RETRY_AFTER;
use latchkey_domain::{Timestamp, states::JobState};
use latchkey_jobs::{
    JobKind, frame,
    kinds::{
        ProviderCall, RevokeGrant,
        provider_call::{CallAnswer, ReadableAnswer},
        revoke_grant::RevocationReceipt,
    },
};
use latchkey_store::JobRow;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{JobSummary, Status, Twice, find};
use crate::{
    auth::Partner,
    error::ApiError,
    extract::Path,
    openapi::Time,
    reply::{Envelope, Result},
    state::Api,
};

/// When to ask again, unless the job is known to run later.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait that is named: what is parked may be released earlier.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// A job with what came of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobDetail {
    #[serde(flatten)]
    summary: JobSummary,
    /// What the provider answered, for calls. Kept for a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ProviderResult>,
    /// What became of a revocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    /// How it goes with the message to the call's `callback_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<Callback>,
}

/// The message to a `callback_url`.
#[derive(Serialize, ToSchema)]
struct Callback {
    /// `processing` until it is delivered (`completed`) or given up (`failed`).
    status: Status,
    /// Times it was posted.
    attempts: u32,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<Time>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A provider's answer.
#[derive(Serialize, ToSchema)]
struct ProviderResult {
    /// The receipt's id.
    call_id: String,
    /// HTTP status.
    status: u16,
    /// Headers by name, in lower case; several of one name joined by commas.
    headers: BTreeMap<String, String>,
    /// The body: JSON as it is, other texts as a string, anything else as base64.
    #[schema(value_type = Value)]
    body: Value,
    /// `json`, `text` or `base64`: what `body` is.
    #[schema(example = "json")]
    body_encoding: &'static str,
}

/// What became of a revocation.
#[derive(Serialize, ToSchema)]
#[schema(as = RevocationReceiptView)]
struct Receipt {
    /// `confirmed`, `already_dead`, `not_supported`, `shared` or `impossible`.
    #[schema(example = "confirmed")]
    outcome: String,
    /// What the provider answered to each request.
    statuses: Vec<u16>,
    /// Where the end user can remove the access by hand, if the provider has no way for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    help_url: Option<String>,
}

/// See how a job goes
///
/// While it is `processing`, `Retry-After` says when to ask again. The fields of `data` are repeated beside it.
#[utoipa::path(get, path = "/api/v1/jobs/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, description = "The job's id")),
    responses((status = 200, body = Envelope<JobDetail>)))]
pub(crate) async fn get_job(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(job): Path<String>,
) -> Result<Response> {
    let row = find(&api, &partner, &job).await?;
    let detail = detail(&api, &row).await?;
    let is_open = detail.0.summary.status == Status::Processing;
    let again = is_open.then(|| again(&row, api.ctx.now()));
    let mut response = detail.into_response();
    response
        .headers_mut()
        .extend(again.map(|seconds| (RETRY_AFTER, seconds.into())));
    Ok(response)
}

/// A job with what came of it, and of its callback.
pub(crate) async fn detail(api: &Api, row: &JobRow) -> Result<Twice<JobDetail>> {
    let mut detail = JobDetail {
        summary: JobSummary::of(row),
        result: None,
        receipt: None,
        callback: None,
    };
    if let Some(sealed) = &row.result {
        read_result(api, row, sealed, &mut detail).await?;
    }
    if let Some(id) = row.then_job {
        let held = api.ctx.store.get_job(row.partner_id, id).await?;
        detail.callback = held.map(|held| Callback::of(&held));
    }
    Ok(Twice(detail))
}

/// Seconds until it makes sense to ask again.
fn again(row: &JobRow, now: Timestamp) -> u64 {
    let wait = now.until(row.run_at).clamp(AGAIN, AGAIN_AT_MOST);
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Opens what the worker left, by the job's kind.
async fn read_result(api: &Api, row: &JobRow, sealed: &[u8], detail: &mut JobDetail) -> Result<()> {
    let id = row.id.to_string();
    let plain = api
        .ctx
        .sealer
        .open(row.partner_id, "jobs", "result", &id, 0, sealed)
        .await?;
    let plain = plain.expose_secret();
    if row.kind == ProviderCall::KIND {
        let (head, body) = frame::unpack::<CallAnswer>(plain).map_err(ApiError::internal)?;
        detail.result = head.readable(body).map(ProviderResult::from);
    } else if row.kind == RevokeGrant::KIND {
        let receipt: RevocationReceipt =
            serde_json::from_slice(plain).map_err(ApiError::internal)?;
        detail.receipt = Some(Receipt {
            outcome: receipt.outcome,
            statuses: receipt.statuses,
            help_url: receipt.help_url,
        });
    }
    Ok(())
}

impl From<ReadableAnswer> for ProviderResult {
    fn from(answer: ReadableAnswer) -> Self {
        Self {
            call_id: answer.call_id,
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            body_encoding: answer.body_encoding,
        }
    }
}

impl Callback {
    fn of(held: &JobRow) -> Self {
        Self {
            status: held.state.into(),
            attempts: held.attempts,
            delivered_at: (held.state == JobState::Completed)
                .then_some(held.completed_at)
                .flatten()
                .map(Time),
            // Of the last attempt, whether others follow or not.
            error: held.error.clone(),
        }
    }
}
