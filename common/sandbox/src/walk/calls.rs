//! Calls: every named endpoint with all of its pages, the end of an access token, the rate limit.

use std::{collections::BTreeMap, time::Duration};

use latchkey_oauth::{HttpAnswer, identity_request};
use latchkey_providers::{
    Endpoint, EndpointMatch, OutgoingCall, PlannedCall, Provider, Service,
    entry::{BodyRule, EndpointParam, ParamPlace, ParamType},
    paging::{CURSOR, LIMIT},
};
use serde_json::{Map, Value, json};

use super::{Connected, Done, Walker, json as body_of, no_headers, text};
use crate::dialect::ITEMS;

/// Most pages of a list that are asked for: 25 items by tens, and an empty one.
const PAGES: usize = 6;

/// The window of the rate limit that is tried, in seconds.
const WINDOW_S: u64 = 5;

/// Where an endpoint stands.
#[derive(Clone, Copy)]
pub(super) struct At {
    service: usize,
    endpoint: usize,
}

/// Every named endpoint.
pub(super) fn endpoints(entry: &Provider) -> Vec<At> {
    let services = entry.services.iter().enumerate();
    let all = services.flat_map(|(service, found)| {
        (0..found.endpoints.len()).map(move |endpoint| At { service, endpoint })
    });
    all.collect()
}

/// Its name.
pub(super) fn name(entry: &Provider, at: At) -> String {
    let service = &entry.services[at.service];
    format!("{}.{}", service.slug, service.endpoints[at.endpoint].name)
}

impl Walker {
    /// Calls an endpoint with everything that it takes; of a list, every page.
    pub(super) async fn call_endpoint(&self, connected: &Connected, at: At) -> Done<String> {
        let service = &self.entry.services[at.service];
        let endpoint = &service.endpoints[at.endpoint];
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let planned = self.plan(service, endpoint, cursor.as_deref())?;
            let answer = self.call(connected, service, &planned).await?;
            if !answer.status.is_success() {
                let said = String::from_utf8_lossy(&answer.body);
                return Err(format!("{} {said}", answer.status));
            }
            let body = body_of(&answer);
            let Some(pointer) = &endpoint.items else {
                if endpoint.shape.is_some()
                    && endpoint.shaped(&body).is_none_or(|s| has_no_value(&s))
                {
                    return Err(format!("the answer does not fit its shape: {body}"));
                }
                return Ok(format!("{}", answer.status.as_u16()));
            };
            let items = body.pointer(pointer).and_then(Value::as_array);
            let items = items.ok_or_else(|| format!("no list at '{pointer}': {body}"))?;
            if endpoint.shape.is_some() && endpoint.shaped(&body).is_none() {
                return Err("the list does not fit its shape".to_owned());
            }
            if let Some(again) = items.iter().find(|item| seen.contains(*item)) {
                return Err(format!("page {} tells an item again: {again}", pages + 1));
            }
            seen.extend(items.iter().cloned());
            pages += 1;
            cursor = endpoint.next_cursor(service, &planned.target, &answer.headers, &body);
            if cursor.is_none() || pages == PAGES {
                break;
            }
        }
        if pages < 2 || seen.len() != ITEMS {
            return Err(format!("{} items of {ITEMS} on {pages} pages", seen.len()));
        }
        Ok(format!("{pages} pages, {} items", seen.len()))
    }

    /// The provider's request for a partner's that gives every parameter.
    fn plan(
        &self,
        service: &Service,
        endpoint: &Endpoint,
        cursor: Option<&str>,
    ) -> Done<PlannedCall> {
        let mut path_params = BTreeMap::new();
        let (mut query, mut body) = (Vec::new(), Map::new());
        for (name, param) in &endpoint.params {
            if name == CURSOR {
                query.extend(cursor.map(|cursor| (name.clone(), cursor.to_owned())));
                continue;
            }
            if name == LIMIT {
                continue;
            }
            let value = sample(endpoint, name, param);
            match param.place {
                ParamPlace::Path => {
                    path_params.insert(name.clone(), plain(&value));
                }
                ParamPlace::Query => query.push((name.clone(), plain(&value))),
                ParamPlace::Body => {
                    body.insert(name.clone(), value);
                }
            }
        }
        let found = EndpointMatch {
            provider: &self.entry,
            service,
            endpoint,
            path_params,
        };
        let body = match endpoint.body {
            BodyRule::Json => json!({"title": "sample"}).to_string(),
            _ if body.is_empty() => String::new(),
            _ => Value::Object(body).to_string(),
        };
        found.build(&query, body.as_bytes()).map_err(text)
    }

    async fn call(
        &self,
        connected: &Connected,
        service: &Service,
        planned: &PlannedCall,
    ) -> Done<HttpAnswer> {
        let mut headers = no_headers();
        if let Some(kind) = &planned.content_type {
            headers.insert(http::header::CONTENT_TYPE, kind.parse().map_err(text)?);
        }
        for (name, value) in &planned.headers {
            let name = http::HeaderName::try_from(name).map_err(text)?;
            headers.insert(name, value.parse().map_err(text)?);
        }
        let call = OutgoingCall {
            method: planned.method.clone(),
            target: &planned.target,
            headers,
            body: planned.body.clone(),
            idempotency_key: None,
        };
        let client = self.client(&connected.params, &connected.tokens.extra);
        let access = connected.tokens.access_of(service.token_class.as_deref());
        let access = access.ok_or("the consent gave no token for this service")?;
        let request = service
            .call_request(&client.vars, call, access)
            .map_err(text)?;
        self.send(request).await
    }

    /// Any request that needs an access token: the identity's, else the first endpoint's.
    async fn probe(&self, connected: &Connected) -> Done<HttpAnswer> {
        let client = self.client(&connected.params, &connected.tokens.extra);
        let request = identity_request(self.spec(), &client, &connected.tokens).map_err(text)?;
        if let Some(request) = request {
            return self.send(request).await;
        }
        let service = self.entry.services.first().ok_or("no service")?;
        let endpoint = service.endpoints.first().ok_or("no endpoint")?;
        let planned = self.plan(service, endpoint, None)?;
        self.call(connected, service, &planned).await
    }

    /// Whether the access token works.
    pub(super) async fn works(&self, connected: &Connected) -> Done<bool> {
        let answer = self.probe(connected).await?;
        let refused = self.entry.is_unauthorized(&answer);
        if refused || answer.status.is_success() {
            return Ok(!refused);
        }
        Err(format!(
            "neither taken nor refused: {} {}",
            answer.status,
            body_of(&answer)
        ))
    }

    /// An access token that ends between two calls: the refusal is understood, and a refresh mends it.
    pub(super) async fn expiry(&self) -> Done<String> {
        let mut connected = self.connect().await?;
        if !self.works(&connected).await? {
            return Err("a new access token does not work".to_owned());
        }
        let Some(end) = connected.tokens.expires_at else {
            return Ok("the access token has no end".to_owned());
        };
        let second = Duration::from_secs(1);
        self.advance(self.now().until(end).saturating_sub(second));
        if !self.works(&connected).await? {
            return Err("an access token ends before it was said to".to_owned());
        }
        self.advance(second);
        if self.works(&connected).await? {
            return Err("an access token at its end works".to_owned());
        }
        let refreshed = self.refresh(&connected).await?;
        connected.tokens = refreshed.map_err(text)?;
        if self.works(&connected).await? {
            return Ok("refused at its end, and mended by a refresh".to_owned());
        }
        Err("the refreshed access token does not work".to_owned())
    }

    /// One request more than the budget, in each form in which the provider says it and as 429: understood as that,
    /// and over when it was said to be.
    pub(super) async fn rate_limit(&self) -> Done<String> {
        let rules = u64::try_from(self.played.rate.limited_when.len()).unwrap_or_default();
        let mut told = Vec::new();
        for form in 1..=rules + 1 {
            told.push(self.rate_limit_as(form).await?);
        }
        Ok(format!("{}; then it goes on", told.join(", ")))
    }

    async fn rate_limit_as(&self, form: u64) -> Done<String> {
        let connected = self.connect().await?;
        self.settings(|settings| {
            settings.dialect_limit_form = form;
            settings.dialect_budget = 1;
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let window = WINDOW_S as f64;
            settings.dialect_window_s = window;
        })?;
        // What connecting asked was counted in a window of its own.
        self.advance(Duration::from_secs(60));
        let first = self.probe(&connected).await?;
        let reading = self.entry.rate.read(&first, self.now());
        let played = &self.played.rate;
        let counts = played.remaining_header.is_some()
            || !played.buckets.is_empty()
            || played.usage_header.is_some();
        if reading.limited_until.is_some() || counts != (reading.remaining == Some(0)) {
            return Err(format!("the last request of a budget reads {reading:?}"));
        }
        let second = self.probe(&connected).await?;
        let reading = self.entry.rate.read(&second, self.now());
        let until = reading.limited_until.ok_or_else(|| {
            format!(
                "not understood as too often: {} {}",
                second.status,
                body_of(&second)
            )
        })?;
        if played.reason_header.is_some() && self.entry.rate.reason(&second.headers).is_none() {
            return Err("which limit was met is not understood".to_owned());
        }
        let wait = self.now().until(until);
        let mut useless = played.not_retryable_when.iter();
        let hopeless = useless.any(|rule| rule.matches(&second, &reading));
        if !hopeless && !(1..=WINDOW_S).contains(&wait.as_secs()) {
            return Err(format!("to wait {wait:?} of a window of {WINDOW_S} s"));
        }
        self.advance(wait);
        let third = self.probe(&connected).await?;
        let still = self
            .entry
            .rate
            .read(&third, self.now())
            .limited_until
            .is_some();
        self.settings(|settings| settings.dialect_budget = 1_000_000)?;
        if still {
            return Err("still too often after the wait".to_owned());
        }
        Ok(format!(
            "{} waits {} s",
            second.status.as_u16(),
            wait.as_secs()
        ))
    }
}

/// A value that a parameter takes.
fn sample(endpoint: &Endpoint, name: &str, param: &EndpointParam) -> Value {
    match param.kind {
        ParamType::Integer => param.min.unwrap_or(1).max(1).into(),
        ParamType::Boolean => true.into(),
        ParamType::Strings => json!(["sample"]),
        ParamType::Json if endpoint.body == BodyRule::GmailMessage => "ada@example.com".into(),
        ParamType::Json => json!({"sample": true}),
        ParamType::String => {
            let word = param.one_of.first().or(param.default.as_ref());
            word.cloned()
                .unwrap_or_else(|| format!("a-{}", name.replace('_', "-")))
                .into()
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Whether a shaped answer holds nothing of the provider's.
fn has_no_value(shaped: &Value) -> bool {
    let members = shaped.as_object();
    members.is_none_or(|members| members.values().all(Value::is_null))
}
