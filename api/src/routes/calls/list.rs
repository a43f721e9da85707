//! `GET /calls`: the receipts, which are the ledger that bills come from.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{AccountId, Timestamp, states::CallOutcome};
use latchkey_store::{CallFilter, CallRow};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Partner,
    check::{self, Checks},
    error::ApiError,
    extract::{Query, flag},
    openapi::Time,
    reply::{Envelope, Reply, Result},
    routes::accounts,
    state::Api,
};

/// Receipts on one page at most.
const MAX_LIMIT: u32 = 100;
/// Receipts on one page unless more or fewer are asked for.
const LIMIT: u32 = 20;

/// Which receipts, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCalls {
    /// For this account: our id, or `ext:` and your `external_id`.
    account_id: Option<String>,
    /// At this provider.
    provider: Option<String>,
    /// On this service.
    service: Option<String>,
    /// Of this job.
    job_id: Option<String>,
    /// `sent`, `answered`, `unknown` or `not_sent`.
    outcome: Option<String>,
    /// `true`: only those that count; `false`: only others.
    #[serde(default, deserialize_with = "maybe_flag")]
    billed: Option<bool>,
    /// Whose outcome was known at this time or later (RFC 3339).
    from: Option<String>,
    /// And before this time.
    to: Option<String>,
    /// How many, 1–100; 20 if left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn maybe_flag<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<bool>, D::Error> {
    flag(d).map(Some)
}

/// A page of receipts.
#[derive(Serialize, ToSchema)]
pub(crate) struct CallList {
    /// Newest first.
    calls: Vec<Receipt>,
    /// For the next page; absent on the last one.
    next_cursor: Option<String>,
}

/// A call's receipt.
#[derive(Serialize, ToSchema)]
struct Receipt {
    /// The call's id; `X-Call-Id` of its answer.
    #[schema(example = "call_019aa000000070008000000000000000")]
    id: String,
    /// For whom.
    account_id: Option<String>,
    /// With which integration.
    integration_id: Option<String>,
    /// The provider.
    provider: String,
    /// The service.
    service: String,
    /// The named endpoint, or `proxy`.
    endpoint: String,
    /// The HTTP method at the provider.
    method: String,
    /// The path at the provider, without its query.
    path: String,
    /// The provider's status, once it answered.
    status: Option<u16>,
    /// `sent` (no answer yet), `answered`, `unknown` (sent, and the answer was lost) or `not_sent`.
    #[schema(value_type = String, example = "answered")]
    outcome: CallOutcome,
    /// Whether it counts toward the plan.
    billed: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_billed_reason: Option<String>,
    /// Bytes of the provider's answer.
    bytes_in: u64,
    /// Bytes of the request to it.
    bytes_out: u64,
    /// Milliseconds in the queue.
    queued_ms: u64,
    /// Milliseconds held back by limits.
    throttled_ms: u64,
    /// Milliseconds until the token was fresh.
    token_ms: u64,
    /// Milliseconds at the provider.
    provider_ms: u64,
    /// Which attempt of its job.
    attempt: u32,
    /// The job it belongs to, for asynchronous calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    /// The request to Latchkey that caused it.
    request_id: Option<String>,
    /// When it was begun.
    created_at: Time,
    /// When its outcome was known: it counts in the hour and month of this moment.
    completed_at: Option<Time>,
}

impl From<CallRow> for Receipt {
    fn from(row: CallRow) -> Self {
        let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: row.id.to_string(),
            account_id: row.account_id.map(|id| id.to_string()),
            integration_id: row.connection_id.map(|id| id.to_string()),
            provider: row.provider,
            service: row.service,
            endpoint: row.endpoint,
            method: row.method,
            path: row.path,
            status: row.status,
            outcome: row.outcome,
            billed: row.billed,
            not_billed_reason: row.not_billed_reason,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            queued_ms: ms(row.queued),
            throttled_ms: ms(row.throttled),
            token_ms: ms(row.token_wait),
            provider_ms: ms(row.provider_time),
            attempt: row.attempt,
            job_id: row.job_id.map(|id| id.to_string()),
            request_id: row.request_id,
            created_at: Time(row.created_at),
            completed_at: row.completed_at.map(Time),
        }
    }
}

/// List the receipts of calls
#[utoipa::path(get, path = "/api/v1/calls", tag = "usage", params(ListCalls),
    responses((status = 200, body = Envelope<CallList>)))]
pub(crate) async fn list_calls(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Query(query): Query<ListCalls>,
) -> Result<Reply<CallList>> {
    let account = match &query.account_id {
        Some(named) => Some(find_account(&api, &partner, named).await?),
        None => None,
    };
    let filter = query.filter(account)?;
    let rows = api.ctx.store.list_calls(partner.id, &filter).await?;
    let is_full = rows.len() == usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let last = rows
        .last()
        .filter(|_| is_full)
        .map(|row| row.id.to_string());
    Ok(Reply(CallList {
        calls: rows.into_iter().map(Receipt::from).collect(),
        next_cursor: last,
    }))
}

/// Receipts outlive their accounts, so an id is taken as it is; the partner's id guards the rows.
async fn find_account(api: &Api, partner: &Partner, named: &str) -> Result<AccountId> {
    match named.parse() {
        Ok(id) => Ok(id),
        Err(_) => Ok(accounts::find(api, partner, named).await?.id),
    }
}

impl ListCalls {
    fn filter(self, account_id: Option<AccountId>) -> Result<CallFilter> {
        let limit = self.limit.unwrap_or(LIMIT);
        let mut checks = Checks::default();
        let in_range = (1..=MAX_LIMIT).contains(&limit);
        checks.require(in_range, "limit", format!("must be 1 to {MAX_LIMIT}"));
        let outcome = self.outcome.as_deref().map(str::to_ascii_lowercase);
        let outcome = outcome.map(|text| CallOutcome::parse(&text));
        let known = outcome.is_none_or(|outcome| outcome.is_some());
        checks.require(
            known,
            "outcome",
            "must be sent, answered, unknown or not_sent",
        );
        let before = self.cursor.map(|text| text.parse());
        let job_id = self.job_id.map(|text| text.parse());
        checks.finish()?;
        let time = |field, text: Option<String>| -> Result<Option<Timestamp>> {
            text.map(|text| check::time(field, &text)).transpose()
        };
        Ok(CallFilter {
            account_id,
            provider: self.provider,
            service: self.service,
            job_id: job_id
                .transpose()
                .map_err(|_| ApiError::field("job_id", "must be a job's id"))?,
            outcome: outcome.flatten(),
            billed: self.billed,
            from: time("from", self.from)?,
            to: time("to", self.to)?,
            before: before
                .transpose()
                .map_err(|_| ApiError::field("cursor", "must be next_cursor of the page before"))?,
            limit,
        })
    }
}
