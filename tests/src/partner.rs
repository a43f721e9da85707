//! A partner's program: what a platform's backend does over HTTP.

use serde_json::{Value, json};

use crate::{Answer, Browser, Http, until};

/// A partner with its key.
#[derive(Clone, Debug)]
pub struct Partner {
    /// Its id.
    pub id: String,
    /// Its API key.
    pub key: String,
    /// The public origin.
    pub origin: String,
    /// How it asks.
    pub http: Http,
}

impl Partner {
    /// Where its users land after connecting. Nothing listens there; the browser stops before.
    pub const REDIRECT: &'static str = "http://127.0.0.1:9/landed";

    /// A partner with this key.
    pub fn new(origin: String, id: String, key: String, http: Http) -> Self {
        Self {
            id,
            key,
            origin,
            http,
        }
    }

    /// The headers that carry the key.
    pub fn auth(&self) -> Vec<(&'static str, String)> {
        vec![("authorization", format!("Bearer {}", self.key))]
    }

    /// The URL of a path below `/api/v1`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.origin)
    }

    /// A management request.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        match body {
            Some(body) => {
                self.http
                    .json(method, &self.url(path), &self.auth(), &body)
                    .await
            }
            None => {
                self.http
                    .send(method, &self.url(path), &self.auth(), None)
                    .await
            }
        }
    }

    /// A provider call for an account, with more headers (`prefer`).
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        account: &str,
        more: &[(&'static str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut headers = self.auth();
        headers.push(("x-account-id", account.to_owned()));
        headers.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        match body {
            Some(body) => {
                self.http
                    .json(method, &self.url(path), &headers, &body)
                    .await
            }
            None => {
                self.http
                    .send(method, &self.url(path), &headers, None)
                    .await
            }
        }
    }

    /// Makes an account; our id of it.
    pub async fn account(&self, external_id: &str) -> String {
        let made = self
            .send(
                "POST",
                "/accounts",
                Some(json!({ "external_id": external_id })),
            )
            .await;
        made.data()["id"].as_str().expect("an id").to_owned()
    }

    /// Begins a connect session at the sandbox; its `data`.
    pub async fn begin_connect(&self, account: &str) -> Value {
        let body = json!({ "provider": "sandbox", "redirect_url": Self::REDIRECT });
        self.send("POST", &format!("/accounts/{account}/connect"), Some(body))
            .await
            .data()
    }

    /// Makes an account and connects it to the sandbox as a user of the same name; our id of it.
    pub async fn connected(&self, external_id: &str) -> String {
        let account = self.account(external_id).await;
        self.connect(&account, external_id).await;
        account
    }

    /// Connects an account to the sandbox as this user.
    pub async fn connect(&self, account: &str, user: &str) {
        let session = self.begin_connect(account).await;
        let landed = Browser::new()
            .consent(session["connect_url"].as_str().expect("a link"), user)
            .await;
        let query: Vec<_> = landed.query_pairs().collect();
        assert!(
            query.iter().any(|(k, v)| k == "status" && v == "success"),
            "{landed}"
        );
    }

    /// The account's only integration.
    pub async fn integration(&self, account: &str) -> Value {
        let list = self
            .send("GET", &format!("/accounts/{account}/integrations"), None)
            .await
            .data();
        list["integrations"][0].clone()
    }

    /// Polls a job as clients do, until it is final.
    pub async fn job(&self, job: &str) -> Value {
        until("the end of a job", || async {
            let data = self.send("GET", &format!("/jobs/{job}"), None).await.data();
            (data["status"] != "processing").then_some(data)
        })
        .await
    }
}
