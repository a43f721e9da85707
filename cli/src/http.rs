//! The HTTP client of commands: to a server of ours, the sandbox, or a page. Providers are never asked from
//! here; their requests go through `oauth::http`.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use latchkey_domain::{Clock, SystemClock};
use serde_json::Value;
use url::Url;

/// How long an answer may take: the API keeps a waiting caller for 30 s, a connect callback for some more.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long a connection may take to stand; ours are on this machine or near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer: a page or a list, never a provider's attachment.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// A client that follows no redirects, uses no proxy and keeps no cookies.
#[derive(Clone, Debug)]
pub(crate) struct Http(reqwest::Client);

/// A request.
#[derive(Debug)]
pub(crate) struct Request(reqwest::Request);

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self(reqwest::Request::new(method, url))
    }

    /// With this header; a value that is a secret is marked so.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> anyhow::Result<Self> {
        let mut value = HeaderValue::from_str(value).with_context(|| format!("header {name}"))?;
        value.set_sensitive(name == header::AUTHORIZATION || name == header::COOKIE);
        self.0.headers_mut().append(name, value);
        Ok(self)
    }

    /// With this token.
    pub(crate) fn bearer(self, token: &str) -> anyhow::Result<Self> {
        self.header(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// With this JSON as its body.
    pub(crate) fn json(self, body: &Value) -> anyhow::Result<Self> {
        let mut request = self.header(header::CONTENT_TYPE, "application/json")?;
        *request.0.body_mut() = Some(body.to_string().into());
        Ok(request)
    }

    /// With these fields as a browser's form.
    pub(crate) fn form(self, fields: &[(String, String)]) -> anyhow::Result<Self> {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let mut request = self.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")?;
        *request.0.body_mut() = Some(body.finish().into());
        Ok(request)
    }
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From sending to the body's end.
    pub(crate) took: Duration,
}

impl Answer {
    /// A header's text, or nothing.
    pub(crate) fn header(&self, name: impl axum::http::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; nothing if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Http {
    pub(crate) fn new() -> anyhow::Result<Self> {
        // TLS through ring, for every client of this process; it fails only if one was chosen before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("latchkey-cli/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self(client.context("cannot build an HTTP client")?))
    }

    /// Sends a request and reads its answer to the end.
    #[expect(
        clippy::disallowed_methods,
        reason = "to our own servers, never to a provider"
    )]
    pub(crate) async fn send(&self, request: Request) -> anyhow::Result<Answer> {
        let url = request.0.url().clone();
        let place = || format!("{} does not answer", url.origin().ascii_serialization());
        let began = SystemClock.monotonic();
        let mut answer = self
            .0
            .execute(request.0)
            .await
            .map_err(plain)
            .with_context(place)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(plain).with_context(place)? {
            anyhow::ensure!(
                body.len() + chunk.len() <= MAX_ANSWER,
                "the answer of {url} is too long"
            );
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: std::mem::take(answer.headers_mut()),
            body: body.into(),
            took: SystemClock.monotonic().saturating_sub(began),
        })
    }
}

/// Without the URL: a query may hold a code.
fn plain(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}
