//! `GET /jobs/{id}`: how a job goes, and what came of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::header::RETRY_AFTER;
use latchkey_domain::Timestamp;
use latchkey_jobs::{
    JobKind, frame,
    kinds::{
        ProviderCall, RevokeGrant,
        provider_call::{CallAnswer, CallResult},
        revoke_grant::RevocationReceipt,
    },
};
use latchkey_store::JobRow;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{JobSummary, Status, Twice};
use crate::{
    auth::Partner,
    error::ApiError,
    extract::{self, Path},
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
    let id = extract::id(&job, "job")?;
    let row = api.ctx.store.get_job(partner.id, id).await?;
    let row = row
        .filter(|row| row.visible)
        .ok_or_else(|| ApiError::not_found("job"))?;
    if let Some(provider) = &row.provider {
        // What a live key was answered is not for a test key.
        partner.may_reach(provider)?;
    }
    let summary = JobSummary::of(&row);
    let again = (summary.status == Status::Processing).then(|| again(&row, api.ctx.now()));
    let mut detail = JobDetail {
        summary,
        result: None,
        receipt: None,
    };
    if let Some(sealed) = &row.result {
        read_result(&api, &row, sealed, &mut detail).await?;
    }
    let mut response = Twice(detail).into_response();
    response
        .headers_mut()
        .extend(again.map(|seconds| (RETRY_AFTER, seconds.into())));
    Ok(response)
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
        detail.result = provider_result(head, body);
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

fn provider_result(answer: CallAnswer, body: &[u8]) -> Option<ProviderResult> {
    let CallResult::Answered {
        status, headers, ..
    } = answer.result
    else {
        return None;
    };
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let all = by_name.entry(name.to_ascii_lowercase()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    let content_type = by_name.get("content-type").map_or("", String::as_str);
    let (body, body_encoding) = readable(content_type, body);
    Some(ProviderResult {
        call_id: answer.call.to_string(),
        status,
        headers: by_name,
        body,
        body_encoding,
    })
}

/// A body in JSON, and how it stands there.
fn readable(content_type: &str, body: &[u8]) -> (Value, &'static str) {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let may_be_json = essence.is_empty() || essence.to_ascii_lowercase().ends_with("json");
    if body.is_empty() {
        return (Value::Null, "json");
    }
    if may_be_json && let Ok(json) = serde_json::from_slice(body) {
        return (json, "json");
    }
    match std::str::from_utf8(body) {
        Ok(text) => (text.into(), "text"),
        Err(_) => (BASE64_STANDARD.encode(body).into(), "base64"),
    }
}
