//! [`Child`]: this program run again as another process, and ended by its id whatever happens.
//!
//! Three things see to it that none is left behind: a normal end signals it and waits; dropping the handle
//! kills it; and it stops by itself when its standard input ends, which the system brings about even if the
//! demo itself is killed.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, ChildStdout, Command};

/// Lines of a child's log that a failure shows.
const LAST_LINES: usize = 20;

/// A process of ours.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: Process,
    log: Option<PathBuf>,
}

impl Child {
    /// Runs this program with these arguments in `dir`. Its log goes to `dir/<name>.log`, or to our stderr when
    /// `RUST_LOG` asks for one.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn spawn(
        name: &'static str,
        arguments: &[String],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let log = std::env::var_os("RUST_LOG")
            .is_none()
            .then(|| dir.join(format!("{name}.log")));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir).kill_on_drop(true);
        // A group of its own: Ctrl-C at the terminal is for the demo, which then ends its children in order.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.stderr(match &log {
            Some(path) => {
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path);
                Stdio::from(file.with_context(|| format!("cannot write {}", path.display()))?)
            }
            None => Stdio::inherit(),
        });
        // The demo is the same everywhere: settings of this shell do not reach it.
        for (variable, _) in std::env::vars_os() {
            let known = variable.to_str().is_some_and(|text| {
                text.starts_with("LATCHKEY_") || text == "DATABASE_URL" || text == "REDIS_URL"
            });
            if known {
                command.env_remove(variable);
            }
        }
        let process = command
            .spawn()
            .with_context(|| format!("cannot run the {name}"))?;
        Ok(Self { name, process, log })
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// What it prints; once.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// Fails if it has ended, with the end of its log.
    ///
    /// # Errors
    /// How it ended.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("the {} ended ({status}){}", self.name, self.last_words())
            }
        }
    }

    /// The last lines of its log: the warnings, if there are any.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log.as_ref().and_then(|path| std::fs::read(path).ok());
        let text = String::from_utf8_lossy(log.as_deref().unwrap_or_default()).into_owned();
        let warns = |line: &&str| {
            ["WARN", "ERROR", "error:"]
                .iter()
                .any(|word| line.contains(word))
        };
        let mut lines: Vec<&str> = text.lines().filter(warns).collect();
        if lines.is_empty() {
            lines = text.lines().collect();
        }
        let last = lines.len().saturating_sub(LAST_LINES);
        lines[last..].iter().fold(String::new(), |words, line| {
            words + "\n  " + self.name + ": " + line
        })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let id = id.with_context(|| format!("the {} has ended", self.name))?;
        kill_process(id, signal).with_context(|| format!("cannot signal the {}", self.name))
    }

    /// `kill -9`, and nothing before it.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.process
            .kill()
            .await
            .with_context(|| format!("cannot kill the {}", self.name))
    }

    /// SIGTERM, then waits; kills it when the patience ends.
    pub(crate) async fn end(mut self, patience: Duration) -> Option<ExitStatus> {
        // One that is gone needs no signal, and one that is stopped must go on to hear it.
        drop(self.signal(Signal::TERM));
        drop(self.signal(Signal::CONT));
        if let Ok(Ok(status)) = tokio::time::timeout(patience, self.process.wait()).await {
            return Some(status);
        }
        drop(self.process.kill().await);
        None
    }
}
