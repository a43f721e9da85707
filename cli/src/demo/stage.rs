//! [`Stage`]: the processes of the demo on free loopback ports, in a temporary directory of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, bail};
use latchkey_runtime::RunFile;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use url::Url;

use crate::{
    demo::{
        app::WebApp,
        child::Child,
        numbers::{Metrics, Sandbox},
    },
    http::Http,
};

/// The settings of the demo's server.
pub(crate) const SETTINGS: &str = include_str!("demo.toml");

/// How long a process may take to be there: a debug build on a busy machine included.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a process may take to end in order. The demo's `stop_grace_ms` and some more.
const END_PATIENCE: Duration = Duration::from_secs(15);
/// The same when the demo broke off.
const HASTE: Duration = Duration::from_secs(3);

/// How a stage is raised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raised<'a> {
    /// A catalogue file that stands for a real provider; without one the sandbox plays.
    pub(crate) catalog: Option<&'a Path>,
    /// The server's settings.
    pub(crate) settings: &'a str,
    /// The server's roles; all if none is named.
    pub(crate) roles: &'a [&'a str],
    /// Where the server listens.
    pub(crate) listen: &'a str,
}

/// Any free port.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// Everything that runs for a demo.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) http: Http,
    pub(crate) app: WebApp,
    /// The simulated provider, if it plays.
    pub(crate) sandbox: Option<Sandbox>,
    /// Where the server is, with the operator's token.
    pub(crate) run: RunFile,
    /// The public origin.
    pub(crate) public: Url,
    admin: Url,
    sandbox_process: Option<Child>,
    server: Option<Child>,
    // Last: what runs is gone before its directory is.
    place: TempDir,
}

impl Stage {
    /// Starts what the demo needs: the sandbox unless a catalogue file stands for a real provider, the
    /// partner's app, and Latchkey.
    pub(crate) async fn raise(catalog: Option<&Path>) -> anyhow::Result<Self> {
        Self::raise_as(&Raised {
            catalog,
            settings: SETTINGS,
            roles: &[],
            listen: ANYWHERE,
        })
        .await
    }

    /// The same with other settings.
    pub(crate) async fn raise_as(raised: &Raised<'_>) -> anyhow::Result<Self> {
        let catalog = raised.catalog;
        let place = tempfile::Builder::new()
            .prefix("latchkey-demo-")
            .tempdir()?;
        fs::write(place.path().join("demo.toml"), raised.settings)?;
        if let Some(file) = catalog {
            let dir = place.path().join("catalog");
            fs::create_dir(&dir)?;
            let name = file.file_name().context("--catalog names no file")?;
            fs::copy(file, dir.join(name))
                .with_context(|| format!("cannot read {}", file.display()))?;
        }
        let http = Http::new()?;
        let app = WebApp::start().await?;
        let (sandbox_process, sandbox) = match catalog {
            None => {
                let (process, url) = raise_sandbox(place.path()).await?;
                (Some(process), Some(Sandbox::new(http.clone(), url)))
            }
            Some(_) => (None, None),
        };
        let server = Serving {
            name: "server",
            data: "data",
            roles: raised.roles,
        };
        let (server, run) = server.raise(place.path(), raised.listen, ANYWHERE).await?;
        let (public, admin) = (run.public_url.parse()?, run.admin_url.parse()?);
        Ok(Self {
            http,
            app,
            sandbox,
            run,
            public,
            admin,
            sandbox_process,
            server: Some(server),
            place,
        })
    }

    /// The directory of all of it.
    pub(crate) fn place(&self) -> PathBuf {
        self.place.path().to_owned()
    }

    /// The server's process id.
    pub(crate) fn server_id(&self) -> Option<u32> {
        self.server.as_ref().and_then(Child::id)
    }

    /// The sandbox's process id.
    pub(crate) fn sandbox_id(&self) -> Option<u32> {
        self.sandbox_process.as_ref().and_then(Child::id)
    }

    /// The server's process.
    pub(crate) fn server(&self) -> anyhow::Result<&Child> {
        self.server.as_ref().context("the server does not run")
    }

    /// The simulated provider.
    pub(crate) fn sandbox(&self) -> anyhow::Result<&Sandbox> {
        self.sandbox.as_ref().context("this step needs the sandbox")
    }

    /// Our metrics now.
    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::read(&self.http, &self.admin).await
    }

    /// `kill -9` of the server; the moment it returns, nothing of it runs.
    pub(crate) async fn kill_server(&mut self) -> anyhow::Result<()> {
        self.server
            .take()
            .context("the server does not run")?
            .kill()
            .await
    }

    /// Starts the server again, on the same directory and ports.
    pub(crate) async fn restart_server(&mut self) -> anyhow::Result<()> {
        let (public, admin) = (authority(&self.public)?, authority(&self.admin)?);
        let server = Serving {
            name: "server",
            data: "data",
            roles: &[],
        };
        let (server, run) = server.raise(self.place.path(), &public, &admin).await?;
        self.server = Some(server);
        self.run = run;
        Ok(())
    }

    /// Starts a worker of its own beside the server, in the same fleet.
    pub(crate) async fn raise_worker(&self) -> anyhow::Result<Child> {
        let any = "127.0.0.1:0";
        let worker = Serving {
            name: "worker",
            data: "worker",
            roles: &["worker"],
        };
        let (worker, _) = worker.raise(self.place.path(), any, any).await?;
        Ok(worker)
    }

    /// SIGTERM to the server; gives how it ended, or nothing if it had to be killed.
    pub(crate) async fn stop_server(&mut self) -> Option<ExitStatus> {
        match self.server.take() {
            Some(server) => server.end(END_PATIENCE).await,
            None => None,
        }
    }

    /// What the processes said last, for a failure.
    pub(crate) fn last_words(&self) -> String {
        let all = self.server.iter().chain(&self.sandbox_process);
        all.map(Child::last_words).collect()
    }

    /// Ends everything that still runs and removes the directory.
    pub(crate) async fn strike(mut self) {
        if let Some(server) = self.server.take() {
            server.end(HASTE).await;
        }
        if let Some(sandbox) = self.sandbox_process.take() {
            sandbox.end(HASTE).await;
        }
    }
}

async fn raise_sandbox(place: &Path) -> anyhow::Result<(Child, Url)> {
    let arguments = [
        "sandbox",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--until-eof",
    ]
    .map(str::to_owned);
    let mut process = Child::spawn("sandbox", &arguments, place)?;
    let stdout = process.stdout().context("the sandbox has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(START_PATIENCE, lines.next_line()).await;
    let Ok(Ok(Some(line))) = line else {
        bail!("the sandbox does not come up{}", process.last_words());
    };
    let told: Value = serde_json::from_str(&line).context("the sandbox tells no JSON")?;
    let url = told["url"].as_str().context("the sandbox tells no URL")?;
    Ok((process, url.parse()?))
}

/// A process that serves.
struct Serving<'a> {
    name: &'static str,
    /// Its data directory.
    data: &'a str,
    roles: &'a [&'a str],
}

impl Serving<'_> {
    async fn raise(
        &self,
        place: &Path,
        listen: &str,
        admin: &str,
    ) -> anyhow::Result<(Child, RunFile)> {
        let data = place.join(self.data);
        let mut arguments = vec!["serve", "--config", "demo.toml", "--data-dir", self.data];
        arguments.extend(["--until-eof", "--listen", listen, "--admin-listen", admin]);
        if place.join("catalog").exists() {
            arguments.extend(["--catalog-dir", "catalog"]);
        }
        arguments.extend(self.roles.iter().flat_map(|role| ["--role", *role]));
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let mut process = Child::spawn(self.name, &arguments, place)?;
        let id = process.id();
        let there = async {
            loop {
                process.must_live()?;
                // One that was killed leaves its file behind: it must be of this process.
                if let Some(run) = RunFile::read(&data)?.filter(|run| Some(run.pid) == id) {
                    return anyhow::Ok(run);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let run = tokio::time::timeout(START_PATIENCE, there).await;
        let run = match run {
            Ok(run) => run?,
            Err(_) => bail!("the {} does not come up{}", self.name, process.last_words()),
        };
        Ok((process, run))
    }
}

fn authority(url: &Url) -> anyhow::Result<String> {
    let (host, port) = (url.host_str(), url.port_or_known_default());
    host.zip(port)
        .map(|(host, port)| format!("{host}:{port}"))
        .context("a URL without a host")
}
