//! `GET /usage`.

use std::time::Duration;

use latchkey_domain::Timestamp;
use latchkey_store::{Granularity, UsageLine};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::calls_url;
use crate::{
    auth::Partner,
    check,
    error::ApiError,
    extract::Query,
    openapi::Time,
    reply::{Reply, Result},
    state::Api,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest range by granularity, so that an answer stays below some thousand lines.
const MAX_HOURS: Duration = Duration::from_secs(31 * 24 * 3600);
/// See [`MAX_HOURS`].
const MAX_DAYS: Duration = Duration::from_secs(366 * 24 * 3600);

/// Which usage.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// From the span that holds this time (RFC 3339, or a date); the beginning of this month if left out.
    from: Option<String>,
    /// To the spans that begin before this time; now if left out.
    to: Option<String>,
    /// `hour`, `day` (if left out) or `period` (a UTC calendar month).
    granularity: Option<String>,
}

/// Usage over a range.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Where the first span begins.
    from: Time,
    /// Before which spans begin.
    to: Time,
    /// As asked.
    #[schema(example = "day")]
    granularity: &'static str,
    /// Oldest first; the running span to this moment.
    lines: Vec<Line>,
    /// Sums of all lines.
    total: Sums,
}

/// Calls on one service in one span.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageLineView)]
struct Line {
    /// When the span begins.
    start: Time,
    /// The provider.
    provider: String,
    /// The service.
    service: String,
    #[serde(flatten)]
    sums: Sums,
    /// Lists these calls.
    #[schema(example = "/api/v1/calls?provider=google&service=gmail&from=…&to=…")]
    calls_url: String,
}

/// What is counted.
#[derive(Clone, Copy, Default, Serialize, ToSchema)]
struct Sums {
    /// Calls with a final outcome.
    calls: u64,
    /// Those that count toward the plan.
    billed: u64,
    /// Bytes of providers' answers.
    bytes_in: u64,
    /// Bytes of requests to them.
    bytes_out: u64,
}

/// The sums that a query asks for. The route is `flowra/routes/usage/list.rs`, which serves both faces.
pub(crate) async fn get_usage(
    api: &Api,
    partner: &Partner,
    Query(query): Query<UsageQuery>,
) -> Result<Reply<Usage>> {
    let (from, to, granularity) = query.range(api.ctx.now())?;
    let lines = api
        .ctx
        .store
        .live_usage(partner.id, from, to, granularity)
        .await?;
    let mut total = Sums::default();
    let lines = lines.into_iter().map(|line| {
        let line = Line::of(line, granularity);
        total.calls += line.sums.calls;
        total.billed += line.sums.billed;
        total.bytes_in += line.sums.bytes_in;
        total.bytes_out += line.sums.bytes_out;
        line
    });
    let lines = lines.collect();
    Ok(Reply(Usage {
        from: Time(from),
        to: Time(to),
        granularity: name(granularity),
        lines,
        total,
    }))
}

impl Line {
    fn of(line: UsageLine, granularity: Granularity) -> Self {
        let (start, end) = granularity.span(line.start);
        Self {
            start: Time(start),
            calls_url: calls_url(&line.provider, &line.service, start, end, false),
            provider: line.provider,
            service: line.service,
            sums: Sums {
                calls: line.calls,
                billed: line.billed,
                bytes_in: line.bytes_in,
                bytes_out: line.bytes_out,
            },
        }
    }
}

const fn name(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Hour => "hour",
        Granularity::Day => "day",
        Granularity::Period => "period",
    }
}

impl UsageQuery {
    /// The range, beginning where a span begins.
    fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp, Granularity)> {
        let wanted = self
            .granularity
            .as_deref()
            .unwrap_or("day")
            .to_ascii_lowercase();
        let granularity = match wanted.as_str() {
            "hour" => Granularity::Hour,
            "day" => Granularity::Day,
            "period" => Granularity::Period,
            _ => {
                return Err(ApiError::field(
                    "granularity",
                    "must be hour, day or period",
                ));
            }
        };
        let time = |field, text: &Option<String>| {
            text.as_deref()
                .map(|text| check::time(field, text))
                .transpose()
        };
        let to = time("to", &self.to)?.unwrap_or(now);
        let from = time("from", &self.from)?.unwrap_or(to.min(now).month_start(0));
        if from >= to {
            return Err(ApiError::field("from", "must be before 'to'"));
        }
        let from = granularity.span(from).0;
        let (most, named) = match granularity {
            Granularity::Hour => (MAX_HOURS, "31 days by the hour"),
            Granularity::Day => (MAX_DAYS, "366 days by the day"),
            Granularity::Period => (MAX_DAYS * 5, "5 years by the period"),
        };
        if to.since(from) > most + DAY {
            return Err(ApiError::field(
                "from",
                format!("must be at most {named} before 'to'"),
            ));
        }
        Ok((from, to, granularity))
    }
}
