//! `GET /usage/statement`: what a month costs.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::Timestamp;
use latchkey_store::COMMIT_WATERMARK;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::calls_url;
use crate::{
    auth::Partner,
    error::ApiError,
    extract::Query,
    openapi::Time,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Which statement.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatementQuery {
    /// A UTC calendar month such as `2026-11`; this one if left out.
    period: Option<String>,
}

/// What a month costs, under the plan as it is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Statement {
    /// The month.
    #[schema(example = "2026-11")]
    period: String,
    /// Its beginning.
    from: Time,
    /// Its end.
    to: Time,
    /// Whether it may still change: the month runs, or its last calls are not all recorded.
    provisional: bool,
    /// The plan's name.
    #[schema(example = "pro")]
    plan: String,
    /// Calls included; `-1` for unlimited.
    included: i64,
    /// Calls that count.
    used: u64,
    /// Those beyond the included ones.
    overage_calls: u64,
    /// Whole units of overage,
    overage_units: u64,
    /// and calls of the next unit.
    overage_rest_calls: u64,
    /// Calls in a unit; `null` where the plan has no overage.
    unit_calls: Option<u64>,
    /// A unit's price in minor units of the currency. Overage is charged by the call.
    unit_price_minor: Option<u64>,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: Option<String>,
    /// The amount of the overage in minor units.
    amount_minor: u64,
    /// The calls that count, by service.
    lines: Vec<Line>,
}

/// Calls on one service.
#[derive(Serialize, ToSchema)]
#[schema(as = StatementLine)]
struct Line {
    /// The provider.
    provider: String,
    /// The service.
    service: String,
    /// Calls that count.
    used: u64,
    /// Calls that do not: never sent, or made with a test key.
    not_billed: u64,
    /// Lists the calls that count.
    #[schema(example = "/api/v1/calls?provider=google&service=gmail&from=…&to=…&billed=true")]
    calls_url: String,
}

/// See what a month costs
#[utoipa::path(get, path = "/api/v1/usage/statement", tag = "usage", params(StatementQuery),
    responses((status = 200, body = Envelope<Statement>)))]
pub(crate) async fn get_statement(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Query(query): Query<StatementQuery>,
) -> Result<Reply<Statement>> {
    let now = api.ctx.now();
    let from = match &query.period {
        Some(period) => month(period, now)?,
        None => now.month_start(0),
    };
    let to = from.month_start(1);
    let found = api.ctx.store.statement_lines(partner.id, from).await?;
    let lines = found.into_iter().map(|line| Line {
        calls_url: calls_url(&line.provider, &line.service, from, to, true),
        provider: line.provider,
        service: line.service,
        used: line.billed,
        not_billed: line.calls.saturating_sub(line.billed),
    });
    let lines: Vec<Line> = lines.collect();
    let charge = partner
        .plan
        .charge(lines.iter().map(|line| line.used).sum());
    let overage = partner.plan.overage.as_ref();
    Ok(Reply(Statement {
        period: from.month(),
        from: Time(from),
        to: Time(to),
        provisional: now < to + COMMIT_WATERMARK,
        plan: partner.row.plan.clone(),
        included: charge
            .included
            .map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
        used: charge.used,
        overage_calls: charge.overage_calls,
        overage_units: charge.overage_units,
        overage_rest_calls: charge.overage_rest_calls,
        unit_calls: overage.map(|overage| overage.unit_calls),
        unit_price_minor: overage.map(|overage| overage.unit_price_minor),
        currency: overage.map(|overage| overage.currency.clone()),
        amount_minor: charge.amount_minor,
        lines,
    }))
}

/// The beginning of a month that has begun.
pub(crate) fn month(period: &str, now: Timestamp) -> Result<Timestamp> {
    let start = Timestamp::parse(&format!("{period}-01T00:00:00Z")).ok();
    let start = start.filter(|start| start.month() == period);
    let start =
        start.ok_or_else(|| ApiError::field("period", "must be a month such as 2026-11"))?;
    if start > now {
        return Err(ApiError::field("period", "must be a month that has begun"));
    }
    Ok(start)
}
