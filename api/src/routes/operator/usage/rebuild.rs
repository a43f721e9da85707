//! `POST /operator/usage/rebuild`.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PARTNERS, month};
use crate::{
    extract::{Body, id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// What to compute anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rebuild {
    /// A UTC calendar month such as `2026-11`; this one if left out.
    period: Option<String>,
    /// After this partner: `next_after` of the answer before.
    after: Option<String>,
}

/// What was computed anew, up to 100 partners at a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rebuilt {
    /// The month.
    #[schema(example = "2026-11")]
    period: String,
    /// Partners looked at.
    partners: u64,
    /// Hours of theirs that were summed up again.
    hours: u64,
    /// Where to go on; `null` at the end.
    next_after: Option<String>,
}

/// Compute a month's usage anew
///
/// From the receipts alone, so however often it is done the rows are the same. Hours whose receipts have left are
/// kept as they are.
#[utoipa::path(post, path = "/operator/usage/rebuild", tag = "usage", request_body = Option<Rebuild>,
    responses((status = 200, body = Envelope<Rebuilt>)))]
pub(crate) async fn rebuild_usage(
    State(api): State<Arc<Api>>,
    body: Option<Body<Rebuild>>,
) -> Result<Reply<Rebuilt>> {
    let wanted = body.map(|Body(wanted)| wanted).unwrap_or_default();
    let start = month(&api, wanted.period.as_deref())?;
    let after = wanted.after.as_deref();
    let after = after.map(|text| id(text, "partner")).transpose()?;
    let store = &api.ctx.store;
    let partners = store.list_partners(after, PARTNERS).await?;
    let is_full = partners.len() == PARTNERS as usize;
    let last = partners.last().filter(|_| is_full);
    let mut rebuilt = Rebuilt {
        period: start.month(),
        partners: partners.len() as u64,
        hours: 0,
        next_after: last.map(|row| row.id.to_string()),
    };
    for partner in partners {
        let hours = store.rebuild_usage(partner.id, start, start.month_start(1));
        rebuilt.hours += hours.await?;
    }
    Ok(Reply(rebuilt))
}
