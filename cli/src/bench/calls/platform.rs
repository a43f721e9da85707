//! [`Platform`]: Latchkey and the sandbox as processes of their own, on either engine, with one partner whose
//! one account is connected.

use std::{path::Path, process::ExitStatus, time::Duration};

use anyhow::Context as _;
use axum::http::Method;
use latchkey_domain::SystemEntropy;
use latchkey_vault::KeyRing;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use super::cost::Watched;
use crate::{
    bench::fleet::Fleet,
    demo::{
        child::Child,
        partner::Partner,
        stage::{ANYWHERE, Raised, Stage},
        steps::{self, connect::Account},
    },
    http::Request,
};

/// The account that calls are for.
pub(super) const ACCOUNT: &str = "ada";
/// The settings beyond the defaults: the sandbox's address, a plan that nobody exceeds, and room for whatever is
/// accepted.
const SETTINGS: &str = r#"
egress_allow = ["127.0.0.0/8"]
stop_grace_ms = 10000

[calls]
backlog_max = 100000000
waiting_max = 100000

[plans.demo]
calls_per_minute = 4000000000
"#;
/// How long a process may take to end.
const END: Duration = Duration::from_secs(15);

/// Everything that runs.
pub(super) struct Platform {
    stage: Stage,
    worker: Option<Child>,
    /// The partner's program.
    pub(super) partner: Partner,
    /// An access token of the sandbox, for the direct figure.
    pub(super) token: String,
    /// The processes of Latchkey.
    pub(super) watched: Vec<Watched>,
    // The fleet's key file, gone with it.
    _keys: TempDir,
}

impl Platform {
    /// Brings it up on this fleet, or on the embedded engine.
    pub(super) async fn raise(fleet: Option<&Fleet>) -> anyhow::Result<Self> {
        let keys = tempfile::tempdir()?;
        let (settings, roles, listen): (_, &[&str], _) = match fleet {
            None => (SETTINGS.to_owned(), &[], ANYWHERE.to_owned()),
            Some(fleet) => {
                // Processes of their own agree on the public address beforehand.
                let listen = TcpListener::bind(ANYWHERE).await?.local_addr()?.to_string();
                let settings = on(fleet, keys.path(), &listen)? + SETTINGS;
                (settings, &["api", "scheduler"], listen)
            }
        };
        let stage = Stage::raise_as(&Raised {
            catalog: None,
            settings: &settings,
            roles,
            listen: &listen,
        })
        .await?;
        let mut watched = vec![Watched {
            role: if fleet.is_some() { "api" } else { "server" },
            pid: stage.server_id().context("the server has ended")?,
        }];
        let mut worker = None;
        if fleet.is_some() {
            let child = stage.raise_worker().await?;
            let pid = child.id().context("the worker has ended")?;
            watched.push(Watched {
                role: "worker",
                pid,
            });
            worker = Some(child);
        }
        let partner = steps::partner(&stage).await?;
        let account = Account::make(&partner, ACCOUNT).await?;
        account.connect(&stage, &partner, "sandbox").await?;
        let token = token(&stage).await?;
        Ok(Self {
            stage,
            worker,
            partner,
            token,
            watched,
            _keys: keys,
        })
    }

    /// The public origin.
    pub(super) fn public(&self) -> &Url {
        &self.stage.public
    }

    /// The sandbox's origin.
    pub(super) fn sandbox(&self) -> anyhow::Result<&Url> {
        Ok(&self.stage.sandbox()?.url)
    }

    /// How many calls the provider has counted.
    pub(super) async fn calls_made(&self) -> anyhow::Result<u64> {
        Ok(self.stage.sandbox()?.counters().await?.get("api_calls"))
    }

    /// Jobs of the partner that are not final.
    pub(super) async fn open_jobs(&self) -> anyhow::Result<u64> {
        let path = "/api/v1/jobs?status=processing&limit=1";
        let jobs = self.partner.ask(Method::GET, path, None).await?;
        jobs["total"].as_u64().context("no total")
    }

    /// Ends everything; what the processes logged last, if one did not end well.
    pub(super) async fn end(mut self) -> Option<String> {
        let mut well = true;
        if let Some(worker) = self.worker.take() {
            well &= worker.end(END).await.is_some_and(|end| end.success());
        }
        let server = self.stage.stop_server().await;
        well &= server.as_ref().is_some_and(ExitStatus::success);
        let words = (!well).then(|| self.stage.last_words());
        self.stage.strike().await;
        words
    }
}

/// The settings of a fleet, with a key-encryption key that lives as long as the measurement.
fn on(fleet: &Fleet, keys: &Path, listen: &str) -> anyhow::Result<String> {
    let file = keys.join("key");
    KeyRing::load_or_create(&file, &SystemEntropy)?;
    Ok(format!(
        "public_url = \"http://{listen}\"\ndatabase_url = {:?}\nredis_url = {:?}\nkey_file = {:?}\nmigrate_on_start = true\n",
        fleet.database_url(),
        fleet.redis_url(),
        file.display().to_string(),
    ))
}

/// An access token, from the sandbox's own hand.
async fn token(stage: &Stage) -> anyhow::Result<String> {
    let url = stage.sandbox()?.url.join("/sandbox/grants/seed")?;
    let request = Request::new(Method::POST, url).json(&json!({ "count": 1 }))?;
    let made = stage.http.send(request).await?.json();
    let token = made["grants"][0]["access_token"].as_str();
    token
        .map(str::to_owned)
        .context("the sandbox gives no token")
}
