//! The one HTTP client of the tests: no redirects followed, no retries, JSON in and out.

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use crate::LONG;

/// A client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: bytes::Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    }

    /// `data` of an envelope that says ok.
    ///
    /// # Panics
    /// If it does not.
    pub fn data(&self) -> Value {
        let json = self.json();
        assert!(
            self.status < 300 && json["ok"] == true,
            "{}: {}",
            self.status,
            self.text()
        );
        json["data"].clone()
    }

    /// The error code of an envelope that says no; the status must be this one.
    ///
    /// # Panics
    /// If it is another.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["error_code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A client.
    pub fn new() -> Self {
        // It fails when another client of this process did it before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LONG)
            .no_proxy()
            .build()
            .expect("a client");
        Self { client }
    }

    /// Sends a request; an error is one of the connection.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tests' own client, to our own servers only"
    )]
    pub async fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, reqwest::Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer {
            status,
            headers,
            body: answer.bytes().await?,
        })
    }

    /// Sends a request that is answered.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let sent = self.try_send(method, url, headers, body).await;
        sent.unwrap_or_else(|e| panic!("{method} {url}: {e:?}"))
    }

    /// Sends JSON.
    pub async fn json(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        body: &Value,
    ) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json".into()));
        self.send(method, url, &headers, Some(body.to_string().into_bytes()))
            .await
    }
}
