//! Latchkey as a process of its own.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::{Child, Engine, Fleet, Http, Partner, Sandbox, process};

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Settings beyond the harness's, as environment variables.
    pub variables: Vec<(String, String)>,
    /// A disk of its own of this size for the data directory (Linux): seen by the server alone.
    pub disk: Option<&'static str>,
    /// Whether a file that may not grow is an error to it rather than its end (`Server::file_limit`).
    pub takes_file_limits: bool,
    /// The roles of the process; none are all.
    pub roles: Vec<&'static str>,
    /// A simulator of every provider beside it, in the same process, on a port of its own.
    pub with_sandbox: bool,
}

impl ServerOptions {
    /// Another setting: `with("REFRESH__TIMEOUT_MS", 2000)`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.variables
            .push((format!("LATCHKEY_{name}"), value.to_string()));
        self
    }

    /// A data directory on a disk of this size (`2m`), which can be filled.
    #[must_use]
    pub fn on_a_disk_of(mut self, size: &'static str) -> Self {
        self.disk = Some(size);
        self
    }

    /// A server whose files can be forbidden to grow.
    #[must_use]
    pub fn taking_file_limits(mut self) -> Self {
        self.takes_file_limits = true;
        self
    }

    /// Only this role; repeat for several. For the fleet.
    #[must_use]
    pub fn role(mut self, role: &'static str) -> Self {
        self.roles.push(role);
        self
    }

    /// With every provider of the catalogue played beside it.
    #[must_use]
    pub fn with_sandbox(mut self) -> Self {
        self.with_sandbox = true;
        self
    }

    /// What is logged.
    #[must_use]
    pub fn with_log(mut self, filter: &str) -> Self {
        self.variables
            .push(("RUST_LOG".to_owned(), filter.to_owned()));
        self
    }

    /// The durations of the refresh protocol shortened to seconds, so that doubt is seen to end.
    #[must_use]
    pub fn quick(self) -> Self {
        self.with("REFRESH__TIMEOUT_MS", 2000)
            .with("REFRESH__LEASE_MS", 3000)
            .with("REFRESH__PROVIDER_DELAY_MS", 2000)
            .with("REFRESH__QUIET_MS", 500)
            .with("REFRESH__SWEEP_MS", 500)
            .with("REFRESH__ENDING_MS", 1000)
            .with("WORKER__JOURNAL_REPLAY_MS", 250)
            .with("SCHEDULER__REQUEUE_MS", 250)
    }
}

/// A running server with a data directory of its own.
#[derive(Debug)]
pub struct Server {
    /// The public origin.
    pub url: String,
    /// The admin listener.
    pub admin: String,
    /// The sandbox beside it, if there is one.
    pub sandbox_url: Option<String>,
    /// What operator requests carry.
    pub operator_token: String,
    /// The process.
    pub process: Child,
    /// A client.
    pub http: Http,
    directory: tempfile::TempDir,
    options: ServerOptions,
    /// What it shares with other processes, on that engine.
    pub fleet: Option<Fleet>,
}

impl Server {
    /// Starts a server in a fresh directory, on the engine under test.
    pub async fn start(options: ServerOptions) -> Self {
        let fleet = match Engine::under_test() {
            Engine::Embedded => None,
            Engine::Fleet => Some(Fleet::start().await),
        };
        Self::bring_up(options, fleet).await
    }

    /// Starts another process of a fleet, with a directory of its own.
    pub async fn join(fleet: &Fleet, options: ServerOptions) -> Self {
        Self::bring_up(options, Some(fleet.clone())).await
    }

    async fn bring_up(mut options: ServerOptions, fleet: Option<Fleet>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        if let Some(fleet) = &fleet {
            // What the test asked for comes after it, and wins.
            let variables = fleet.variables_of(&options.roles);
            options.variables.splice(0..0, variables);
        }
        let (process, run) = bring_up(&directory, &options).await;
        Self {
            url: listen(&options).unwrap_or_else(|| text(&run, "public_url")),
            admin: text(&run, "admin_url"),
            sandbox_url: run["sandbox_url"].as_str().map(str::to_owned),
            operator_token: text(&run, "operator_token"),
            process,
            http: Http::new(),
            directory,
            options,
            fleet,
        }
    }

    /// Where its data is, as this process reaches it.
    pub fn data_dir(&self) -> PathBuf {
        seen_from_here(
            &self.process,
            &self.directory.path().join("data"),
            &self.options,
        )
    }

    /// Kills it as a crash would and starts it again on the same directory and ports.
    pub async fn crash_and_restart(&mut self) {
        self.process.kill().await;
        self.restart().await;
    }

    /// Starts it again after it ended, on the same ports.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// The same, with more variables for this time.
    pub async fn restart_with(&mut self, variables: &[(&str, &str)]) {
        let port = |url: &str| url.rsplit(':').next().expect("a port").to_owned();
        let mut options = self
            .options
            .clone()
            .with("LISTEN", format!("127.0.0.1:{}", port(&self.url)))
            .with("ADMIN_LISTEN", format!("127.0.0.1:{}", port(&self.admin)));
        let more = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        options.variables.extend(more);
        let (process, run) = bring_up(&self.directory, &options).await;
        self.operator_token = text(&run, "operator_token");
        self.process = process;
    }

    /// Asks it to stop and waits; its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        self.process.ended().await
    }

    /// From now on no file that it writes may be longer than this many bytes; none is a limit no more.
    /// The kernel then refuses its writes as it does those to a broken or read-only volume.
    pub fn file_limit(&self, bytes: Option<u64>) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Pid::from_raw(id), Resource::Fsize, limit).expect("its limits are ours to set");
    }

    /// Runs a command of the binary beside this server, `--json` added; its output.
    pub async fn command(&self, arguments: &[&str], input: &str) -> process::Said {
        let directory = self.data_dir().display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", &directory, "--json"]);
        // On the embedded engine the server does what the command asks, with its own settings.
        let variables = match self.fleet {
            Some(_) => settings(&self.options, &self.data_dir()),
            None => Vec::new(),
        };
        process::run(&all, &variables, input).await
    }

    /// Makes a partner on this plan and its first key.
    pub async fn partner(&self, plan: &str) -> Partner {
        let arguments = [
            "partner",
            "create",
            "--company",
            "Acme",
            "--website",
            "https://acme.example",
            "--plan",
            plan,
            "--redirect-url",
            Partner::REDIRECT,
        ];
        let said = self.command(&arguments, "").await;
        assert_eq!(said.code, 0, "{said:?}");
        let made = said.json();
        let text = |name: &str| {
            made[name]
                .as_str()
                .unwrap_or_else(|| panic!("{made}"))
                .to_owned()
        };
        Partner::new(
            self.url.clone(),
            text("partner_id"),
            text("key"),
            self.http.clone(),
        )
    }

    /// Gives the operator's auth config for a sandbox; its id.
    pub async fn sandbox_config(&self, sandbox: &Sandbox) -> String {
        let credentials = "sandbox-client\nsandbox-secret\n";
        let base = format!("base_url={}", sandbox.url);
        let arguments = [
            "auth-config",
            "create",
            "--provider",
            "sandbox",
            "--param",
            &base,
            "--client-file",
            "-",
        ];
        let said = self.command(&arguments, credentials).await;
        assert_eq!(said.code, 0, "{said:?}");
        said.json()["id"].as_str().expect("its id").to_owned()
    }

    /// Our own numbers: the sum over all label sets of a metric whose line contains every one of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self
            .http
            .send("GET", &format!("{}/metrics", self.admin), &[], None)
            .await
            .text();
        text.lines()
            .filter(|l| l.split(['{', ' ']).next() == Some(name))
            .filter(|l| labels.iter().all(|label| l.contains(label)))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// Where a process listens that was told so.
fn listen(options: &ServerOptions) -> Option<String> {
    let told = options.variables.iter().rev();
    let (_, address) = told
        .into_iter()
        .find(|(name, _)| name == "LATCHKEY_LISTEN")?;
    Some(format!("http://{address}"))
}

fn text(run: &Value, name: &str) -> String {
    run[name].as_str().expect("run.json names it").to_owned()
}

/// The settings of a process.
fn settings(options: &ServerOptions, data: &Path) -> Vec<(String, String)> {
    let mut variables = vec![
        ("LATCHKEY_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("LATCHKEY_ADMIN_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("LATCHKEY_DATA_DIR".to_owned(), data.display().to_string()),
        ("LATCHKEY_EGRESS_ALLOW".to_owned(), "127.0.0.0/8".to_owned()),
        (
            "LATCHKEY_PLANS__TEST__CALLS_PER_MINUTE".to_owned(),
            "1000000".to_owned(),
        ),
        ("RUST_LOG".to_owned(), "info".to_owned()),
    ];
    variables.extend(options.variables.iter().cloned());
    variables
}

async fn bring_up(directory: &tempfile::TempDir, options: &ServerOptions) -> (Child, Value) {
    let data = directory.path().join("data");
    let variables = settings(options, &data);
    let mut process = match options.disk {
        None if options.takes_file_limits => Child::spawn(taking_file_limits(), &variables),
        None => {
            let mut arguments = vec!["serve", "--until-eof"];
            arguments.extend(options.roles.iter().flat_map(|role| ["--role", role]));
            if options.with_sandbox {
                arguments.extend(["--sandbox", "--sandbox-listen", "127.0.0.1:0"]);
            }
            Child::start(&arguments, &variables)
        }
        Some(size) => Child::spawn(on_a_disk(size, &data), &variables),
    };
    // The first screen is printed when everything listens and run.json is there.
    process.line().await;
    let run = seen_from_here(&process, &data, options).join("run.json");
    let run = std::fs::read_to_string(run).expect("run.json");
    (process, serde_json::from_str(&run).expect("JSON"))
}

/// The server in a mount namespace of its own, with a small disk where its data goes. The disk ends with it.
fn on_a_disk(size: &str, data: &Path) -> tokio::process::Command {
    std::fs::create_dir_all(data).expect("a directory");
    let script =
        r#"mount -t tmpfs -o "size=$0,mode=700" tmpfs "$1" && exec "$2" serve --until-eof"#;
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", script, size])
        .arg(data)
        .arg(process::binary());
    command
}

/// The server without the signal that a file limit sends: a refused write is an error then (setrlimit(2)).
fn taking_file_limits() -> tokio::process::Command {
    let mut command = tokio::process::Command::new("sh");
    let script = r#"trap '' XFSZ && exec "$0" serve --until-eof"#;
    command.args(["-c", script]).arg(process::binary());
    command
}

fn seen_from_here(process: &Child, path: &Path, options: &ServerOptions) -> PathBuf {
    if options.disk.is_none() {
        return path.to_owned();
    }
    // The kernel's view of the process's own mounts (proc(5)).
    let relative = path.strip_prefix("/").expect("an absolute path");
    PathBuf::from(format!("/proc/{}/root", process.id())).join(relative)
}
