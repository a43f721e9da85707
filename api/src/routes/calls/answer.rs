//! What a provider's answer becomes: the envelope for named endpoints, the answer itself for raw calls.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use latchkey_jobs::kinds::provider_call::{CallAnswer, CallResult};
use latchkey_providers::{Endpoint, RateSpec, Service, Target};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{CALL_ID, Call, Shape};
use crate::{
    error::{ApiError, Code},
    reach,
    reply::Result,
    state::Api,
};

/// How much of a provider's error body is told, in bytes: enough for any error object.
const TOLD: usize = 64 * 1024;
/// The wait where a provider that is asked too often names none.
const LIMITED_FOR: Duration = Duration::from_secs(60);
/// What a raw answer must not bring: the provider's policies for browsers, its word on caching (one address
/// serves all accounts, so nothing may be kept), and what is ours to say.
const NOT_PASSED: &[&str] = &[
    "age",
    "cache-control",
    "content-security-policy",
    "content-security-policy-report-only",
    "cross-origin-opener-policy",
    "expires",
    "nel",
    "pragma",
    "referrer-policy",
    "report-to",
    "reporting-endpoints",
    "x-call-id",
    "x-content-type-options",
    "x-request-id",
];

/// How headers about rate limits begin, ours and most providers'.
const LIMITS: &str = "x-ratelimit-";
/// How a provider's begin on raw answers.
const PROVIDER_LIMITS: &str = "x-provider-ratelimit-";

/// The response to the caller.
pub(super) fn render(api: &Api, call: &Call, answer: &CallAnswer, body: &[u8]) -> Result<Response> {
    let page = Page::of(api, call);
    let mut response = match &answer.result {
        CallResult::Failed {
            code,
            message,
            reason,
            retry_after_s,
        } => failed(call, code, message, reason.as_deref(), *retry_after_s).into_response(),
        CallResult::Answered {
            status,
            headers,
            limited_for_s,
        } => {
            let status = StatusCode::from_u16(*status).map_err(ApiError::internal)?;
            let headers = read_headers(headers);
            if call.shape == Shape::Raw {
                raw(status, &headers, body)
            } else {
                named(status, &headers, body, *limited_for_s, page).into_response()
            }
        }
    };
    if let Ok(id) = HeaderValue::try_from(answer.call.to_string()) {
        response.headers_mut().insert(CALL_ID, id);
    }
    if let Some(minute) = answer.minute {
        response.extensions_mut().insert(minute);
    }
    Ok(response)
}

fn read_headers(pairs: &[(String, String)]) -> HeaderMap {
    let pairs = pairs.iter().filter_map(|(name, value)| {
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        ))
    });
    pairs.collect()
}

/// The worker's refusal, in the codes of the API.
fn failed(
    call: &Call,
    code: &str,
    message: &str,
    reason: Option<&str>,
    retry_after_s: Option<u64>,
) -> ApiError {
    let account = &call.reached.account;
    let code = Code::parse(code).unwrap_or(Code::Internal);
    let error = match code {
        Code::NeedsReauth => {
            reach::needs_user(account, &call.provider, reason.unwrap_or("grant_lost"))
        }
        Code::ConnectionNotFound => reach::not_connected(account, &call.provider),
        _ => ApiError::new(code, sentence(message)),
    };
    match retry_after_s {
        Some(seconds) => error.retry_after(Duration::from_secs(seconds)),
        None => error,
    }
}

/// A worker's words as a sentence.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    let stop = if words.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

/// The provider's own answer. Its rate limits get a name of their own: ours are beside them.
fn raw(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Response {
    let mut response = Response::new(Body::from(Bytes::copy_from_slice(body)));
    *response.status_mut() = status;
    for (name, value) in headers {
        let text = name.as_str();
        if NOT_PASSED.contains(&text) || text.starts_with("access-control-") {
            continue;
        }
        let renamed = text
            .strip_prefix(LIMITS)
            .map(|rest| format!("{PROVIDER_LIMITS}{rest}"));
        let name = match renamed.map(HeaderName::try_from) {
            Some(Ok(renamed)) => renamed,
            _ => name.clone(),
        };
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// The envelope around the provider's JSON; what is no JSON, such as a file, as it is.
fn named(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    limited_for_s: Option<u64>,
    page: Page<'_>,
) -> Result<Response> {
    if limited_for_s.is_some() || status == StatusCode::TOO_MANY_REQUESTS {
        let wait = limited_for_s.map_or(LIMITED_FOR, Duration::from_secs);
        let text = "The provider is asked too often on this account's behalf. Wait and try again.";
        let mut details = told(status, body);
        if let Some(reason) = page.rate.and_then(|rate| rate.reason(headers)) {
            details["reason"] = reason.into();
        }
        return Err(ApiError::new(Code::ProviderRateLimited, text)
            .retry_after(wait)
            .also("details", details));
    }
    if !status.is_success() {
        let text = format!("The provider answered {}.", status.as_u16());
        return Err(ApiError::new(Code::ProviderError, text).also("details", told(status, body)));
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let is_json = essence.is_empty() || essence.ends_with("json");
    if body.is_empty() {
        return envelope(RawValue::NULL, headers, None);
    }
    if !is_json && essence != "text/html" {
        return Ok(file(headers, body));
    }
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(data) if is_json => page.envelope(data, headers),
        _ => {
            let text = "The provider answered with something that is no JSON.";
            Err(ApiError::new(Code::ProviderError, text).also("details", told(status, body)))
        }
    }
}

/// What the catalogue says of the endpoint's answers.
#[derive(Clone, Copy)]
struct Page<'a> {
    endpoint: Option<(&'a Service, &'a Endpoint)>,
    target: Option<&'a str>,
    rate: Option<&'a RateSpec>,
}

impl<'a> Page<'a> {
    #[cfg(test)]
    const NONE: Page<'static> = Page {
        endpoint: None,
        target: None,
        rate: None,
    };

    fn of(api: &'a Api, call: &'a Call) -> Self {
        let provider = api.ctx.catalog.get(&call.provider);
        let service = provider.and_then(|provider| provider.service(&call.service));
        let endpoint = service.and_then(|service| {
            let mut endpoints = service.endpoints.iter();
            Some((
                service,
                endpoints.find(|endpoint| endpoint.name == call.endpoint)?,
            ))
        });
        Self {
            endpoint,
            target: Some(&call.request.target),
            rate: provider.map(|provider| &provider.rate),
        }
    }

    /// The answer in the form that the entry promises, with the cursor of the next page. What the entry says
    /// nothing of stays as it came.
    fn envelope(self, data: &RawValue, headers: &HeaderMap) -> Result<Response> {
        let Some((service, endpoint)) = self.endpoint else {
            return envelope(data, headers, None);
        };
        if endpoint.items.is_none() && endpoint.shape.is_none() {
            return envelope(data, headers, None);
        }
        let answer: Value = serde_json::from_str(data.get()).map_err(ApiError::internal)?;
        let target = self.target.and_then(|target| match target.split_once('?') {
            Some((path, query)) => Target::raw(path, Some(query)).ok(),
            None => Target::raw(target, None).ok(),
        });
        let next =
            target.and_then(|target| endpoint.next_cursor(service, &target, headers, &answer));
        match endpoint.shaped(&answer) {
            Some(shaped) => envelope(shaped, headers, next),
            None => envelope(data, headers, next),
        }
    }
}

/// `{"ok":true,"data":…}` with the provider's JSON as it stood, and its links to further pages.
fn envelope(
    data: impl Serialize,
    headers: &HeaderMap,
    next_cursor: Option<String>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Named<T> {
        ok: bool,
        data: T,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    let named = Named {
        ok: true,
        data,
        next_cursor,
    };
    let body = serde_json::to_vec(&named).map_err(ApiError::internal)?;
    let json = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, json)], body).into_response();
    for link in headers.get_all(header::LINK) {
        response.headers_mut().append(header::LINK, link.clone());
    }
    Ok(response)
}

fn file(headers: &HeaderMap, body: &[u8]) -> Response {
    let mut response = Response::new(Body::from(Bytes::copy_from_slice(body)));
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_DISPOSITION,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
    ] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// What the provider said, for `details`: its JSON, else the beginning of its text.
fn told(status: StatusCode, body: &[u8]) -> Value {
    let parsed = (body.len() <= TOLD).then(|| serde_json::from_slice::<Value>(body).ok());
    let body = parsed.flatten().unwrap_or_else(|| {
        let beginning = &body[..body.len().min(TOLD)];
        String::from_utf8_lossy(beginning).into()
    });
    json!({"status": status.as_u16(), "body": body})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_answer_brings_no_policies_and_keeps_its_limits_apart() {
        let pairs = [
            ("content-type", "text/html"),
            ("cache-control", "public, max-age=60"),
            ("content-security-policy", "default-src *"),
            ("access-control-allow-origin", "*"),
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-reset", "1"),
            ("link", "<a>; rel=next"),
            ("link", "<b>; rel=last"),
            ("x-request-id", "theirs"),
        ];
        let headers = read_headers(&pairs.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let response = raw(StatusCode::OK, &headers, b"x");
        let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let kept = [
            "content-type",
            "link",
            "x-provider-ratelimit-limit",
            "x-provider-ratelimit-reset",
        ];
        assert_eq!(names, kept);
        assert_eq!(response.headers().get_all("link").iter().count(), 2);
    }

    #[test]
    fn which_limit_of_the_provider_was_met_is_told() {
        let rate = RateSpec {
            reason_header: Some("ratelimit-reason".into()),
            ..RateSpec::default()
        };
        let page = Page {
            rate: Some(&rate),
            ..Page::NONE
        };
        let pairs = [("ratelimit-reason".to_owned(), "jira-burst-based".to_owned())];
        let headers = read_headers(&pairs);
        let refused = named(StatusCode::FORBIDDEN, &headers, b"{}", Some(7), page).unwrap_err();
        assert_eq!(refused.code, Code::ProviderRateLimited);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(7)));
        let details = json!({"status": 403, "body": {}, "reason": "jira-burst-based"});
        assert_eq!(refused.also.unwrap()["details"], details);
    }

    #[test]
    fn files_pass_and_other_texts_do_not() {
        let render = |content_type: &str, body: &[u8]| {
            let pairs = [("content-type".to_owned(), content_type.to_owned())];
            let result = named(
                StatusCode::OK,
                &read_headers(&pairs),
                body,
                None,
                Page::NONE,
            );
            match result {
                Ok(response) => {
                    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
                    content_type.to_owned()
                }
                Err(error) => error.code.as_str().to_owned(),
            }
        };
        let rendered = [
            render("application/json; charset=utf-8", b"{}"),
            render("application/vnd.api+json", b"[1]"),
            render("", b"true"),
            render("application/json", b""),
            render("application/pdf", b"%PDF"),
            render("text/csv", b"a,b"),
            render("application/json", b"{"),
            render("text/html", b"{}"),
            render("", b"<html>"),
        ];
        insta::assert_snapshot!(rendered.join("\n"), @r#"
        application/json
        application/json
        application/json
        application/json
        application/pdf
        text/csv
        PROVIDER_ERROR
        PROVIDER_ERROR
        PROVIDER_ERROR
        "#);
    }
}
