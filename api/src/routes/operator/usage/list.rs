//! `GET /operator/usage`.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{PARTNERS, month};
use crate::{
    extract::{Query, id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Which month, and which page of its partners.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListUsage {
    /// A UTC calendar month such as `2026-11`; this one if left out.
    period: Option<String>,
    /// After this partner: `next_after` of the page before.
    after: Option<String>,
}

/// A month's usage, up to 100 partners at a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageList {
    /// The month.
    #[schema(example = "2026-11")]
    period: String,
    /// By partner, provider and service.
    lines: Vec<Line>,
    /// Where the next page begins; `null` on the last.
    next_after: Option<String>,
}

/// One partner's calls on one service.
#[derive(Serialize, ToSchema)]
struct Line {
    /// Whose.
    partner_id: String,
    /// Its plan now.
    plan: String,
    /// The provider.
    provider: String,
    /// The service.
    service: String,
    /// Receipts with a final outcome.
    calls: u64,
    /// Those that count.
    billed: u64,
    /// Bytes of providers' answers.
    bytes_in: u64,
    /// Bytes of requests to them.
    bytes_out: u64,
}

/// List a month's usage
///
/// The sums of the receipts, as the partners' statements have them.
#[utoipa::path(get, path = "/operator/usage", tag = "usage", params(ListUsage),
    responses((status = 200, body = Envelope<UsageList>)))]
pub(crate) async fn list_usage(
    State(api): State<Arc<Api>>,
    Query(query): Query<ListUsage>,
) -> Result<Reply<UsageList>> {
    let start = month(&api, query.period.as_deref())?;
    let after = query.after.as_deref();
    let after = after.map(|text| id(text, "partner")).transpose()?;
    let store = &api.ctx.store;
    let partners = store.list_partners(after, PARTNERS).await?;
    let is_full = partners.len() == PARTNERS as usize;
    let last = partners.last().filter(|_| is_full);
    let next_after = last.map(|row| row.id.to_string());
    let mut lines = Vec::new();
    for partner in partners {
        for line in store.statement_lines(partner.id, start).await? {
            lines.push(Line {
                partner_id: partner.id.to_string(),
                plan: partner.plan.clone(),
                provider: line.provider,
                service: line.service,
                calls: line.calls,
                billed: line.billed,
                bytes_in: line.bytes_in,
                bytes_out: line.bytes_out,
            });
        }
    }
    Ok(Reply(UsageList {
        period: start.month(),
        lines,
        next_after,
    }))
}
