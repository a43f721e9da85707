//! `GET /usage/balance`.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Partner,
    flowra::shape::{Bare, One},
    openapi::Time,
    reply::Result,
    state::Api,
};

/// What is left of the month.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the published names")]
pub(crate) struct Balance {
    /// The plan's name.
    #[schema(example = "pro")]
    plan: String,
    /// What is counted.
    #[schema(example = "calls")]
    unit: &'static str,
    /// Calls included; `-1` for unlimited.
    included: i64,
    /// Calls used this month.
    used: u64,
    /// Calls left of the included ones; `-1` for unlimited.
    balance: i64,
    /// Calls beyond the included ones.
    overage: u64,
    /// When the month began.
    period_start: Time,
    /// When the next begins.
    period_end: Time,
}

/// See what is left of the month
#[utoipa::path(get, path = "/api/v1/usage/balance", tag = "flowra: usage",
    responses((status = 200, body = One<Balance>)))]
pub(crate) async fn get_balance(
    State(api): State<Arc<Api>>,
    partner: Partner,
) -> Result<Bare<One<Balance>>> {
    let now = api.ctx.now();
    let used = api.months.used(&api, partner.id).await?;
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let included = partner.plan.included_calls_per_month;
    Ok(One::of(Balance {
        plan: partner.row.plan.clone(),
        unit: "calls",
        included: included.map_or(-1, signed),
        used,
        balance: included.map_or(-1, |n| signed(n.saturating_sub(used))),
        overage: included.map_or(0, |n| used.saturating_sub(n)),
        period_start: Time(now.month_start(0)),
        period_end: Time(now.month_start(1)),
    }))
}
