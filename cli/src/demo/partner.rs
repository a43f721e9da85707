//! [`Partner`]: a partner's program. All it knows are the public URL and its key.

use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::{HeaderName, Method, header};
use serde_json::Value;
use url::Url;

use crate::http::{Answer, Http, Request};

/// How often a job is asked for when the server names no time.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Which account a call is for.
const ACCOUNT: HeaderName = HeaderName::from_static("x-account-id");
/// Whether a call's answer is waited for (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A partner's program.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    http: Http,
    base: Url,
    /// Its API key.
    pub(crate) key: String,
}

impl Partner {
    pub(crate) fn new(http: Http, base: Url, key: String) -> Self {
        Self { http, base, key }
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<Request> {
        Request::new(method, self.base.join(path)?).bearer(&self.key)
    }

    /// A management request; gives its data.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.request(method.clone(), path)?;
        if let Some(body) = body {
            request = request.json(body)?;
        }
        let answer = self.http.send(request).await?;
        data(&answer).with_context(|| format!("{method} {path}"))
    }

    /// A provider call for an account.
    pub(crate) async fn call(
        &self,
        path: &str,
        account: &str,
        prefer: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::GET, path)?.header(ACCOUNT, account)?;
        if let Some(prefer) = prefer {
            request = request.header(PREFER, prefer)?;
        }
        self.http.send(request).await
    }

    /// Polls a job until it is final; gives it and how often it was asked for.
    pub(crate) async fn job(&self, id: &str, patience: Duration) -> anyhow::Result<(Value, usize)> {
        let path = format!("/api/v1/jobs/{id}");
        let polling = async {
            let mut polls = 0;
            loop {
                polls += 1;
                let answer = self.http.send(self.request(Method::GET, &path)?).await?;
                let job = data(&answer)?;
                if job["status"] != "processing" {
                    return Ok((job, polls));
                }
                let seconds = answer.header(header::RETRY_AFTER).parse::<u64>().ok();
                tokio::time::sleep(seconds.map_or(POLL_EVERY, Duration::from_secs)).await;
            }
        };
        let done = tokio::time::timeout(patience, polling).await;
        done.with_context(|| format!("job {id} is not final after {} s", patience.as_secs()))?
    }
}

/// The data of an answer in the envelope.
pub(crate) fn data(answer: &Answer) -> anyhow::Result<Value> {
    let mut body = answer.json();
    if body["ok"] == true {
        return Ok(body["data"].take());
    }
    bail!("status {}: {}", answer.status, answer.text())
}
