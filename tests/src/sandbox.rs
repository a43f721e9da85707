//! The sandbox as a process of its own, and its account of what it saw.

use serde_json::{Value, json};

use crate::{Child, Http, LONG};

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    /// Its origin.
    pub url: String,
    /// The process; dropping it ends it.
    pub process: Child,
    http: Http,
}

impl Sandbox {
    /// Starts one on a free port with these settings (`access_lifetime_s=5`).
    pub async fn start(settings: &[&str]) -> Self {
        let mut arguments = vec![
            "sandbox",
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--until-eof",
        ];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let mut process = Child::start(&arguments, &[]);
        let ready: Value = serde_json::from_str(&process.line().await).expect("one JSON object");
        let url = ready["url"]
            .as_str()
            .expect("its URL")
            .trim_end_matches('/')
            .to_owned();
        Self {
            url,
            process,
            http: Http::new(),
        }
    }

    /// All counters.
    pub async fn counters(&self) -> Value {
        self.http
            .send("GET", &format!("{}/sandbox/counters", self.url), &[], None)
            .await
            .json()
    }

    /// One counter.
    pub async fn count(&self, counter: &str) -> u64 {
        self.counters().await[counter]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {counter}"))
    }

    /// Waits until a counter shows at least this.
    pub async fn wait(&self, counter: &str, at_least: u64) -> u64 {
        let url = format!(
            "{}/sandbox/wait?counter={counter}&at_least={at_least}&timeout_ms={}",
            self.url,
            LONG.as_millis() / 2,
        );
        let answer = self.http.send("GET", &url, &[], None).await.json();
        assert_eq!(answer["reached"], true, "{counter} >= {at_least}: {answer}");
        answer["value"].as_u64().expect("a number")
    }

    /// Changes settings.
    pub async fn set(&self, settings: Value) {
        let url = format!("{}/sandbox/settings", self.url);
        let answer = self.http.json("PUT", &url, &[], &settings).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Arms a fault: `fault("refresh", json!("drop_after_acting"), 1)`.
    pub async fn fault(&self, target: &str, kind: Value, count: u32) {
        let url = format!("{}/sandbox/faults", self.url);
        let fault = json!({ "target": target, "kind": kind, "count": count });
        let answer = self.http.json("POST", &url, &[], &fault).await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    /// Ends every access token, as if its time was over; refresh tokens live on.
    pub async fn expire_access(&self) {
        let url = format!("{}/sandbox/grants/expire-access", self.url);
        assert!(self.http.send("POST", &url, &[], None).await.status < 300);
    }

    /// The latest grant of this user, as the provider sees it.
    pub async fn grant(&self, user: &str) -> Value {
        let url = format!("{}/sandbox/grants?user={user}", self.url);
        let list = self.http.send("GET", &url, &[], None).await.json();
        list["grants"][0].clone()
    }

    /// Ends every grant, as a user who removes the app does.
    pub async fn revoke_all(&self) {
        let url = format!("{}/sandbox/grants/revoke-all", self.url);
        assert!(self.http.send("POST", &url, &[], None).await.status < 300);
    }

    /// Takes all faults away; requests that hang go on.
    pub async fn clear_faults(&self) {
        self.http
            .send("DELETE", &format!("{}/sandbox/faults", self.url), &[], None)
            .await;
    }
}
