//! The last step before a provider call is sent: base address, required headers, token. And which headers
//! go through in either direction.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use bytes::Bytes;
use latchkey_oauth::{AllowedHosts, HttpRequest, RequestError, Vars, fill_url};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    entry::Service,
    target::{Target, TargetError},
};

/// A call as it leaves its job.
pub struct OutgoingCall<'a> {
    /// The provider's method.
    pub method: Method,
    /// Where below the service.
    pub target: &'a Target,
    /// Headers that are handed on; those of a partner went through [`forward_headers`].
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// A key for the provider's idempotency header, if the service has one.
    pub idempotency_key: Option<&'a str>,
}

/// A call that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Entry and auth config do not fit.
    #[error("the service's address cannot be built")]
    Request(#[from] RequestError),
    /// The path leaves the service.
    #[error("the target is refused")]
    Target(#[from] TargetError),
    /// A value does not fit into a header.
    #[error("a value does not fit into a header")]
    Header(#[from] ::http::Error),
}

impl Service {
    /// The request to send, with the access token in place. It may go to the service's host alone.
    pub fn call_request(
        &self,
        vars: &Vars<'_>,
        call: OutgoingCall<'_>,
        access: &SecretString,
    ) -> Result<HttpRequest, CallError> {
        let base = fill_url(&self.base_url, vars)?;
        let url = call.target.join(&base)?;
        let mut headers = call.headers;
        for (name, value) in &self.headers {
            let value = value.fill(vars).map_err(RequestError::from)?;
            headers.insert(header_name(name)?, header_value(&value)?);
        }
        if let Some((name, key)) = self.idempotency_header.as_ref().zip(call.idempotency_key) {
            headers.insert(header_name(name)?, header_value(key)?);
        }
        let token = &self.token_header;
        let mut value = header_value(&format!("{}{}", token.prefix, access.expose_secret()))?;
        value.set_sensitive(true);
        headers.insert(header_name(&token.name)?, value);
        let mut request = Request::builder()
            .method(call.method)
            .uri(url.as_str())
            .body(call.body)?;
        *request.headers_mut() = headers;
        Ok(HttpRequest {
            request,
            hosts: AllowedHosts::of([&base]),
        })
    }
}

fn header_name(name: &str) -> Result<HeaderName, ::http::Error> {
    Ok(HeaderName::try_from(name)?)
}

fn header_value(value: &str) -> Result<HeaderValue, ::http::Error> {
    Ok(HeaderValue::try_from(value)?)
}

/// Headers of one hop (RFC 9110 §7.6.1), and those that the sender writes itself.
const HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of a partner's request that are for Latchkey or say who called: never for the provider.
const OURS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "cookie",
    "forwarded",
    "idempotency-key",
    "origin",
    "prefer",
    "referer",
    "traceparent",
    "tracestate",
    "user-agent",
    "via",
    "x-account-id",
    "x-api-key",
    "x-real-ip",
    "x-request-id",
    "x-username",
];

/// The headers of a partner's request that go on to the provider: not ours, not hop-by-hop, no cookies, no
/// credentials, nothing that says where the partner's server stands.
pub fn forward_headers(headers: &HeaderMap) -> HeaderMap {
    kept(headers, |name| {
        !OURS.contains(&name) && !name.starts_with("x-forwarded-") && !name.starts_with("sec-")
    })
}

/// The headers of a provider's answer that go on to the partner: not hop-by-hop, no cookies, nothing that
/// would bind the partner's browser to the provider's policies.
pub fn answer_headers(headers: &HeaderMap) -> HeaderMap {
    kept(headers, |name| {
        !matches!(
            name,
            "set-cookie"
                | "set-cookie2"
                | "strict-transport-security"
                | "alt-svc"
                | "clear-site-data"
        )
    })
}

fn kept(headers: &HeaderMap, keep: impl Fn(&str) -> bool) -> HeaderMap {
    // RFC 9110 §7.6.1: what `Connection` names is for this hop too.
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let passes =
        |name: &str| !HOP.contains(&name) && !named.iter().any(|n| n == name) && keep(name);
    headers
        .iter()
        .filter(|(name, _)| passes(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_is_ours_does_not_go_on() {
        let given = headers(&[
            ("authorization", "Bearer sk_live_x"),
            ("cookie", "a=b"),
            ("x-account-id", "u1"),
            ("x-api-key", "k"),
            ("host", "latchkey.example"),
            ("connection", "keep-alive, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "10.0.0.1"),
            ("idempotency-key", "i"),
            ("prefer", "respond-async"),
            ("content-type", "text/csv"),
            ("accept", "text/html"),
            ("if-none-match", "\"e\""),
            ("x-goog-user-project", "p"),
        ]);
        let kept = forward_headers(&given);
        let mut names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "content-type",
                "if-none-match",
                "x-goog-user-project"
            ]
        );
    }

    #[test]
    fn cookies_do_not_come_back() {
        let given = headers(&[
            ("set-cookie", "a=b"),
            ("connection", "close"),
            ("content-type", "application/json"),
            ("link", "<x>; rel=next"),
            ("link", "<y>; rel=last"),
        ]);
        let kept = answer_headers(&given);
        assert_eq!(kept.len(), 3);
        assert_eq!(kept.get_all("link").iter().count(), 2);
    }
}
