//! `GET /usage`: on this face the calls one by one, from the ledger; on the other their sums.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use latchkey_store::{CallRow, UsageLogFilter};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Partner,
    extract::Query,
    flowra::{
        Face,
        query::Params,
        shape::{Bare, Page},
        toolkit::ToolkitRef,
    },
    openapi::Time,
    reply::{Envelope, Result},
    routes::usage::get::{self as sums, Usage, UsageQuery},
    state::Api,
};

/// Which calls, and which page of them. Any of these asks for calls instead of sums; so do `x-api-key` and
/// `x-username`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the handler reads")]
pub(crate) struct ListUsage {
    /// Of this external user.
    #[param(rename = "eUID")]
    e_uid: Option<String>,
    /// `tool`; of the other types (`ai_model`, `sandbox`, `browser`, `workflow`, `media`, `connected_account`)
    /// there is none here.
    #[param(rename = "type")]
    kind: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<u32>,
    /// On one page; 20 if left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// In place of `page`: after so many.
    #[param(maximum = 1_000_000)]
    offset: Option<u32>,
    /// Accepted: a key has one project.
    #[param(rename = "projectId")]
    project_id: Option<String>,
    /// Of this workflow: there are none here.
    #[param(rename = "workflowId")]
    workflow_id: Option<String>,
    /// Of this execution: there are none here.
    #[param(rename = "executionId")]
    execution_id: Option<String>,
    /// Of this thread: there are none here.
    #[param(rename = "threadId")]
    thread_id: Option<String>,
    /// Base64 of `{"page":2,"limit":10}`, in place of both.
    cursor: Option<String>,
}

/// A call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageRecord {
    /// Its receipt.
    #[schema(example = "call_019aa000000070008000000000000000")]
    id: String,
    /// Always `tool`.
    #[serde(rename = "type")]
    #[schema(example = "tool")]
    kind: &'static str,
    /// The toolkit.
    toolkit: ToolkitRef,
    /// The named endpoint, or `proxy`.
    #[schema(example = "send_message")]
    action: String,
    /// The connected account.
    connected_account_id: Option<String>,
    /// What it counts: 1, or 0 for what never reached the provider and for test keys.
    amount: u8,
    /// Whether the provider took it well.
    successful: bool,
    /// When its outcome was known.
    created_at: Time,
}

/// Sums, or calls one by one.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answer")]
pub(crate) enum UsageAnswer {
    /// Sums.
    Sums(Envelope<Usage>),
    /// Calls.
    Calls(Page<UsageRecord>),
}

/// See your usage
///
/// Sums by service; or, asked for as Flowra's clients do, the calls one by one.
#[utoipa::path(get, path = "/api/v1/usage", tags = ["usage", "flowra: usage"],
    params(UsageQuery, ListUsage, ("x-username" = Option<String>, Header, description = "Asks for calls")),
    responses((status = 200, body = UsageAnswer)))]
pub(crate) async fn get_usage(
    State(api): State<Arc<Api>>,
    partner: Partner,
    face: Face,
    request: Request,
) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    if face == Face::Flowra {
        let params = Params::from_request_parts(&mut parts, &()).await?;
        return Ok(list(&api, &partner, params).await?.into_response());
    }
    let query = Query::from_request_parts(&mut parts, &()).await?;
    Ok(sums::get_usage(&api, &partner, query)
        .await?
        .into_response())
}

async fn list(api: &Api, partner: &Partner, mut params: Params) -> Result<Bare<Page<UsageRecord>>> {
    const TYPES: [&str; 7] = [
        "tool",
        "ai_model",
        "sandbox",
        "browser",
        "workflow",
        "media",
        "connected_account",
    ];
    let name = params.one("eUID");
    let other = params.choice("type", &TYPES).is_some_and(|place| place > 0);
    params.one("projectId");
    let of = [
        params.one("workflowId"),
        params.one("executionId"),
        params.one("threadId"),
    ];
    let (from, to) = (params.time("from"), params.time("to"));
    let paging = params.paging(20);
    params.finish()?;
    let store = &api.ctx.store;
    let account = match &name {
        Some(name) => store.get_account_by_external(partner.id, name).await?,
        None => None,
    };
    let nothing = other || of.iter().flatten().next().is_some();
    if nothing || (name.is_some() && account.is_none()) {
        return Ok(Page::of(Vec::new(), 0, paging));
    }
    let filter = UsageLogFilter {
        account_id: account.map(|account| account.id),
        from,
        to,
        limit: paging.limit,
        offset: paging.offset,
    };
    let (rows, total) = store.usage_log(partner.id, &filter).await?;
    let records = rows.into_iter().map(|row| record(api, row)).collect();
    Ok(Page::of(records, total, paging))
}

fn record(api: &Api, row: CallRow) -> UsageRecord {
    let provider = api.ctx.catalog.get(&row.provider);
    let toolkit = provider.and_then(|provider| {
        let service = provider.service(&row.service)?;
        Some(provider.toolkit(service))
    });
    UsageRecord {
        id: row.id.to_string(),
        kind: "tool",
        toolkit: ToolkitRef::of(api, &toolkit.unwrap_or(row.provider)),
        action: row.endpoint,
        connected_account_id: row.connection_id.map(|id| id.to_string()),
        amount: u8::from(row.billed),
        successful: row
            .status
            .is_some_and(|status| (200..300).contains(&status)),
        created_at: Time(row.completed_at.unwrap_or(row.created_at)),
    }
}
