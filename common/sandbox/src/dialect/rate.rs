//! Budgets of a dialect, and the forms in which it says "too often".

use std::{collections::HashMap, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use latchkey_domain::Timestamp;
use latchkey_oauth::spec::TimeUnit;
use latchkey_providers::{LimitedWhen, Provider, RateSpec};
use serde_json::{Value, json};

use super::{put, token::in_unit};

/// The windows of each access token.
pub(crate) type Windows = HashMap<String, Window>;

/// One window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    ends_at: Timestamp,
    used: u64,
}

/// The budget that a token has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) requests: u64,
    pub(super) per: Duration,
}

impl Budget {
    /// What the settings say, else what the entry publishes first.
    pub(super) fn of(rate: &RateSpec, settings: &crate::Settings) -> Option<Self> {
        if settings.dialect_budget > 0 {
            return Some(Self {
                requests: settings.dialect_budget,
                per: Duration::from_secs_f64(settings.dialect_window_s),
            });
        }
        let budget = rate.budgets.first()?;
        Some(Self {
            requests: budget.requests,
            per: Duration::from_secs(budget.per_s),
        })
    }
}

/// What is left after one more request.
pub(super) struct Left {
    limit: u64,
    remaining: u64,
    ends_at: Timestamp,
    pub(super) spent: bool,
}

/// Counts a request; whether it was one too many.
pub(super) fn count(windows: &mut Windows, token: &str, budget: Budget, now: Timestamp) -> Left {
    let fresh = Window {
        ends_at: now + budget.per,
        used: 0,
    };
    // A window that is over says nothing more.
    windows.retain(|_, window| window.ends_at > now);
    let window = windows.entry(token.to_owned()).or_insert(fresh);
    window.used += 1;
    Left {
        limit: budget.requests,
        remaining: budget.requests.saturating_sub(window.used),
        ends_at: window.ends_at,
        spent: window.used > budget.requests,
    }
}

/// The headers that tell what is left, in the provider's names and units.
pub(super) fn headers(rate: &RateSpec, left: &Left, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: String| headers.extend(header_of(name, &value));
    let end = |unit: TimeUnit| {
        let micros = now.until(left.ends_at).as_micros();
        let ahead = u64::try_from(micros.div_ceil(1_000_000)).unwrap_or_default();
        match in_unit(unit, ahead, now) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    };
    if let Some(name) = &rate.limit_header {
        set(name, left.limit.to_string());
    }
    if let Some(name) = &rate.remaining_header {
        set(name, left.remaining.to_string());
    }
    if let Some((name, unit)) = rate.reset_header.as_ref().zip(rate.reset_unit) {
        set(name, end(unit));
    }
    // Further windows are wider: the first is the one that is spent.
    for bucket in &rate.buckets {
        let wider = left.limit.saturating_mul(10);
        set(
            &bucket.remaining_header,
            (wider - left.limit + left.remaining).to_string(),
        );
        set(&bucket.reset_header, end(bucket.reset_unit));
    }
    if let Some(usage) = &rate.usage_header {
        let used = left.limit - left.remaining;
        let text = usage.regex.replacen(r"(\d+)", &used.to_string(), 1);
        set(
            &usage.name,
            text.replacen(r"(\d+)", &left.limit.to_string(), 1),
        );
    }
    headers
}

/// The rule whose form is used; `None` for 429.
fn form(rate: &RateSpec, wanted: u64) -> Option<&LimitedWhen> {
    let nth = usize::try_from(wanted).unwrap_or(usize::MAX);
    match nth.checked_sub(1) {
        Some(nth) => rate.limited_when.get(nth),
        // Its usual one: the first that is its own, rather than its gateway's or one of a bare status.
        None => rate
            .limited_when
            .iter()
            .find(|rule| rule.header.is_none() && (rule.is_worded() || rule.remaining_zero)),
    }
}

/// Which limit a dialect says that was met.
const REASON: &str = "sandbox-budget";

/// "Too often", in one of the provider's forms.
pub(super) fn too_often(provider: &Provider, left: &Left, now: Timestamp, wanted: u64) -> Response {
    let rate = &provider.rate;
    let mut body = json!({"message": "too many requests"});
    let rule = form(rate, wanted);
    let mut status = StatusCode::TOO_MANY_REQUESTS;
    let said = rule.and_then(LimitedWhen::words);
    if let Some(rule) = rule {
        status = StatusCode::from_u16(rule.http).unwrap_or(status);
        if let Some(text) = said.filter(|_| !rule.path.is_empty()) {
            body = words_at(&rule.path, text);
        }
    }
    let wait = now.until(left.ends_at).as_micros().div_ceil(1_000_000);
    let wait = u64::try_from(wait).unwrap_or_default();
    if let Some(field) = &rate.retry_after_body {
        let end = match in_unit(field.unit, wait, now) {
            Value::String(at) if field.unit == TimeUnit::Iso8601 => {
                format!("Too often. Retry after {at}").into()
            }
            end => end,
        };
        put(&mut body, &field.path, end);
    }
    let mut answer = (status, Json(body)).into_response();
    let named = rule.and_then(|rule| rule.header.as_ref()).zip(said);
    if let Some((name, value)) = named.and_then(|(name, text)| header_of(name, text)) {
        answer.headers_mut().insert(name, value);
    }
    if let Some(name) = &rate.reason_header {
        answer.headers_mut().extend(header_of(name, REASON));
    }
    let told = rate.reset_header.is_some() || rate.retry_after_body.is_some();
    let hopeless = rule.is_some_and(|rule| rate.not_retryable_when.contains(rule));
    if !told && !hopeless {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    answer
}

/// A header, if these are one's name and value.
fn header_of(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok()?;
    Some((name, HeaderValue::try_from(value).ok()?))
}

/// A body that has this text at a pointer; a first step that is a number makes a list.
pub(crate) fn words_at(pointer: &str, text: &str) -> Value {
    let mut value = Value::from(text);
    for step in pointer
        .split('/')
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        value = match step.parse::<usize>() {
            Ok(_) => json!([value]),
            Err(_) => json!({ step: value }),
        };
    }
    value
}
