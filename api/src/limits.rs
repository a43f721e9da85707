//! The `X-RateLimit-*` headers: what a partner may still do this minute and this month.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use latchkey_domain::{PartnerId, Timestamp};
use latchkey_jobs::kinds::provider_call::MinuteLeft;
use latchkey_store::StoreError;
use latchkey_telemetry::Chain;
use moka::sync::Cache;

use crate::{auth::Partner, state::Api};

/// How long a month's count is trusted: it costs a query, and the headers go on every answer.
const KEPT: Duration = Duration::from_secs(2);
/// Partners whose count is kept, some 100 bytes each.
const PARTNERS_KEPT: u64 = 50_000;
/// What stands for "unlimited".
const UNLIMITED: HeaderValue = HeaderValue::from_static("-1");

const MONTH_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const MONTH_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const MINUTE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-minute-limit");
const MINUTE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-minute-remaining");

/// Billed calls of this month by partner, a moment old.
#[derive(Debug)]
pub(crate) struct Months(Cache<PartnerId, Month>);

#[derive(Clone, Copy, Debug)]
struct Month {
    read: Duration,
    start: Timestamp,
    used: u64,
}

impl Default for Months {
    fn default() -> Self {
        Self(Cache::new(PARTNERS_KEPT))
    }
}

impl Months {
    /// The partner's billed calls this month, at most [`KEPT`] old.
    pub(crate) async fn used(&self, api: &Api, partner: PartnerId) -> Result<u64, StoreError> {
        let (clock, start) = (api.ctx.clock.monotonic(), api.ctx.now().month_start(0));
        if let Some(month) = self.0.get(&partner)
            && month.start == start
            && clock.saturating_sub(month.read) < KEPT
        {
            return Ok(month.used);
        }
        let used = api.ctx.store.billed_calls(partner, start).await?;
        let month = Month {
            read: clock,
            start,
            used,
        };
        self.0.insert(partner, month);
        Ok(used)
    }
}

/// Adds the four headers to an answer for this partner. Who made the answer may know how the minute stands, and left
/// it there.
pub(crate) async fn add_headers(api: &Api, partner: &Partner, response: &mut Response) {
    let minute = if let Some(minute) = response.extensions_mut().remove::<MinuteLeft>() {
        minute
    } else {
        let seen = api.ctx.limits.peek(partner.id, &partner.plan).await;
        let (limit, remaining) = (seen.limit, seen.remaining);
        MinuteLeft { limit, remaining }
    };
    let headers = response.headers_mut();
    headers.insert(MINUTE_LIMIT, minute.limit.into());
    headers.insert(MINUTE_REMAINING, minute.remaining.into());
    let Some(included) = partner.plan.included_calls_per_month else {
        headers.insert(MONTH_LIMIT, UNLIMITED);
        headers.insert(MONTH_REMAINING, UNLIMITED);
        return;
    };
    headers.insert(MONTH_LIMIT, included.into());
    match api.months.used(api, partner.id).await {
        Ok(used) => {
            headers.insert(MONTH_REMAINING, included.saturating_sub(used).into());
        }
        // The answer itself is good; a header is no reason to lose it.
        Err(error) => tracing::warn!(error = %Chain(&error), "this month's calls were not counted"),
    }
}
