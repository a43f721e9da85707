//! `GET /me`: who a key belongs to, in the shape that existing clients show.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::integrations::{Integration, list_default};
use crate::{
    auth::Partner,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Who asks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    /// The partner's contact.
    email: Option<String>,
    /// The partner.
    partner: Profile,
    /// The plan's name.
    #[schema(example = "pro")]
    tier: String,
    /// Calls of this month.
    usage: Calls,
    /// What the account in `X-Account-Id`, or the default account, is connected to.
    integrations: Vec<Connected>,
    /// Where a person finds out more.
    dashboard_url: String,
}

/// The partner in short.
#[derive(Serialize, ToSchema)]
#[schema(as = MeProfile)]
struct Profile {
    /// Its id.
    id: String,
    /// Its company.
    company: String,
}

/// Calls of this month.
#[derive(Serialize, ToSchema)]
struct Calls {
    /// That count toward the plan.
    current: u64,
    /// That the plan includes; `-1` for unlimited.
    limit: i64,
}

/// An integration in short.
#[derive(Serialize, ToSchema)]
struct Connected {
    /// The provider.
    #[schema(example = "google")]
    provider: String,
    /// `active`, `expired`, `needs_reauth` or `paused`.
    #[schema(example = "active")]
    status: String,
}

/// See who you are
#[utoipa::path(get, path = "/api/v1/me", tag = "partner",
    params(("X-Account-Id" = Option<String>, Header, description = "An account's `external_id`")),
    responses((status = 200, body = Envelope<Me>)))]
pub(crate) async fn get_me(
    State(api): State<Arc<Api>>,
    partner: Partner,
    headers: HeaderMap,
) -> Result<Reply<Me>> {
    let integrations = list_default::own(&api, &partner, &headers).await?;
    let limit = partner.plan.included_calls_per_month;
    let row = &partner.row;
    Ok(Reply(Me {
        email: row.contact_email.clone(),
        partner: Profile {
            id: row.id.to_string(),
            company: row.company.clone(),
        },
        tier: row.plan.clone(),
        usage: Calls {
            // Live, unlike the headers' count: this is where a partner looks.
            current: api
                .ctx
                .store
                .billed_calls(partner.id, api.ctx.now().month_start(0))
                .await?,
            limit: limit.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
        },
        integrations: integrations.iter().map(Connected::of).collect(),
        dashboard_url: format!("{}/docs", api.ctx.config.public_origin()),
    }))
}

impl Connected {
    fn of(integration: &Integration) -> Self {
        Self {
            provider: integration.provider.clone(),
            status: integration.status.to_string(),
        }
    }
}
