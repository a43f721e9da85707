//! The processes of the measurement, in a temporary directory of their own: the sandbox, and Latchkey as the
//! engine wants it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use latchkey_domain::SystemEntropy;
use latchkey_runtime::RunFile;
use latchkey_vault::KeyRing;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use url::Url;

use crate::{
    bench::fleet::Fleet,
    demo::{
        child::Child,
        numbers::{Metrics, Sandbox},
    },
    http::Http,
};

/// How long a process may take to be there.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end in order.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// The settings of every Latchkey process here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Token requests at once in one worker.
    pub(crate) concurrency: usize,
    /// Grants in one job.
    pub(crate) batch: usize,
}

impl Tuning {
    /// Jobs at work at once in one worker: twice what the token requests need, for a job also reads, claims and
    /// ends with its slowest grant.
    fn jobs(self) -> usize {
        (2 * self.concurrency / self.batch).max(8)
    }
}

/// Where everything of one run lives. What runs ends with it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) http: Http,
    pub(crate) sandbox: Sandbox,
    sandbox_process: Child,
    servers: Vec<Running>,
    // Last: what runs is gone before its directory is.
    dir: TempDir,
}

/// A Latchkey process.
#[derive(Debug)]
struct Running {
    child: Child,
    admin: Url,
    has_worker: bool,
}

impl Place {
    /// Makes the directory with its settings and starts the sandbox.
    pub(crate) async fn raise(
        latency_ms: u64,
        tuning: Tuning,
        fleet: Option<&Fleet>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("latchkey-bench-")
            .tempdir()?;
        fs::write(
            dir.path().join("bench.toml"),
            settings(dir.path(), tuning, fleet),
        )?;
        // A fleet makes no key of its own.
        KeyRing::load_or_create(&dir.path().join("key"), &SystemEntropy)?;
        let http = Http::new()?;
        let latency = format!("token_latency_ms={latency_ms}");
        let arguments = [
            "sandbox",
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--until-eof",
            "--set",
            &latency,
        ];
        let arguments = arguments.map(str::to_owned);
        let mut process = Child::spawn("sandbox", &arguments, dir.path())?;
        let line = first_line(&mut process).await?;
        let told: Value = serde_json::from_str(&line).context("the sandbox tells no JSON")?;
        let url: Url = told["url"]
            .as_str()
            .context("the sandbox tells no URL")?
            .parse()?;
        Ok(Self {
            sandbox: Sandbox::new(http.clone(), url),
            http,
            sandbox_process: process,
            servers: Vec::new(),
            dir,
        })
    }

    /// The settings file that every process here reads.
    pub(crate) fn settings(&self) -> std::path::PathBuf {
        self.dir.path().join("bench.toml")
    }

    /// The data directory of the embedded engine, or of the first process.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Starts a Latchkey process with these roles; none are all.
    pub(crate) async fn serve(&mut self, data: &str, roles: &[&str]) -> anyhow::Result<()> {
        let mut arguments = vec!["serve", "--config", "bench.toml", "--data-dir", data];
        arguments.extend([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--until-eof",
        ]);
        for role in roles {
            arguments.extend(["--role", role]);
        }
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let mut child = Child::spawn("server", &arguments, self.dir.path())?;
        // The first screen is printed when everything listens.
        first_line(&mut child).await?;
        let run =
            RunFile::read(&self.dir.path().join(data))?.context("the server left no run.json")?;
        self.servers.push(Running {
            child,
            admin: run.admin_url.parse()?,
            has_worker: roles.is_empty() || roles.contains(&"worker"),
        });
        Ok(())
    }

    /// The numbers of every worker.
    pub(crate) async fn metrics(&mut self) -> anyhow::Result<Vec<Metrics>> {
        let mut all = Vec::new();
        for server in &mut self.servers {
            server.child.must_live()?;
            if server.has_worker {
                all.push(Metrics::read(&self.http, &server.admin).await?);
            }
        }
        Ok(all)
    }

    /// The ids of the Latchkey processes.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(|s| s.child.id()).collect()
    }

    /// Ends everything.
    pub(crate) async fn strike(self) {
        for server in self.servers {
            server.child.end(END_PATIENCE).await;
        }
        self.sandbox_process.end(END_PATIENCE).await;
    }
}

fn settings(dir: &Path, tuning: Tuning, fleet: Option<&Fleet>) -> String {
    let (Tuning { concurrency, batch }, jobs) = (tuning, tuning.jobs());
    let quoted = |text: &str| format!("{text:?}");
    let head = format!(
        "egress_allow = [\"127.0.0.0/8\"]\nkey_file = {}\n",
        quoted(&dir.join("key").display().to_string())
    );
    let servers = fleet.map_or_else(String::new, |fleet| {
        format!(
            "database_url = {}\nredis_url = {}\nmigrate_on_start = true\npublic_url = \"http://127.0.0.1:1\"\n",
            quoted(fleet.database_url()),
            quoted(fleet.redis_url())
        )
    });
    let refresh = format!(
        "[refresh]\nconcurrency = {concurrency}\nbatch = {batch}\nprovider_per_second = 0\nauth_config_per_second = 0\n\
         [worker]\nrefresh = {jobs}\n"
    );
    head + &servers + &refresh
}

async fn first_line(process: &mut Child) -> anyhow::Result<String> {
    let stdout = process.stdout().context("a process has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(START_PATIENCE, lines.next_line()).await;
    let Ok(Ok(Some(line))) = line else {
        bail!("a process does not come up{}", process.last_words());
    };
    // What it prints later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(line)
}
