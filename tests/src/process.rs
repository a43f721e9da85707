//! Child processes: started, read line by line, signalled by id, and never left behind.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child as Process, Command},
    task::JoinHandle,
};

use crate::LONG;

/// Lines of stderr that a failing test shows.
const SHOWN_LINES: usize = 200;

/// The binary under test: `LATCHKEY_TEST_BIN`, else the one beside this test's own folder.
///
/// # Panics
/// If there is none: `cargo build` makes it.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("LATCHKEY_TEST_BIN").map_or_else(
        || {
            let own = std::env::current_exe().expect("a test knows its own file");
            own.ancestors()
                .nth(2)
                .expect("tests lie in target/<profile>/deps")
                .join("latchkey")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build` first",
        path.display()
    );
    path
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: Process,
    // Held, because `wait` would close it, and that asks a server started with --until-eof to stop.
    _stdin: tokio::process::ChildStdin,
    stdout: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    stderr: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Child {
    /// Starts `latchkey` with these arguments and variables; no other `LATCHKEY_` variable is passed on.
    pub fn start(arguments: &[&str], variables: &[(String, String)]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::spawn(command, variables)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Starts any command in the same way.
    pub fn spawn(mut command: Command, variables: &[(String, String)]) -> Self {
        prepare(&mut command, variables);
        let mut process = command.spawn().expect("the command starts");
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let stderr = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&stderr);
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self {
            process,
            _stdin: stdin,
            stdout,
            stderr,
            reader,
        }
    }

    /// The most memory that it has held, in KiB, where the system tells it (Linux).
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The next line of stdout.
    pub async fn line(&mut self) -> String {
        match tokio::time::timeout(LONG, self.stdout.next_line()).await {
            Ok(Ok(Some(line))) => line,
            other => panic!("no line on stdout ({other:?}); stderr:\n{}", self.stderr()),
        }
    }

    /// Everything it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The last lines of stderr.
    pub fn stderr(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.process.id().expect("it runs")).expect("an id fits");
        let pid = rustix::process::Pid::from_raw(id).expect("an id is positive");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Kills it as a crash would, and waits for its end.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it runs");
    }

    /// Waits for its end; the exit code, if it ended by itself.
    pub async fn ended(&mut self) -> Option<i32> {
        let Ok(status) = tokio::time::timeout(LONG, self.process.wait()).await else {
            panic!("it did not end; stderr:\n{}", self.stderr())
        };
        // What it wrote last is read before anyone looks at the log.
        (&mut self.reader)
            .await
            .expect("the reader ends with the pipe");
        status.expect("it can be waited for").code()
    }
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Stdout as one JSON value.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// No setting of this process reaches a child but those given, its ends are piped, and it ends with its handle.
fn prepare(command: &mut Command, variables: &[(String, String)]) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LATCHKEY_")) {
        command.env_remove(name);
    }
    command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
    command.envs(variables.iter().cloned()).kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

/// Runs `latchkey` with these arguments to its end, with `input` on stdin.
pub async fn run(arguments: &[&str], variables: &[(String, String)], input: &str) -> Said {
    let mut command = Command::new(binary());
    command.args(arguments);
    finish(command, variables, input).await
}

/// Runs any command to its end in the same way.
pub async fn finish(mut command: Command, variables: &[(String, String)], input: &str) -> Said {
    use tokio::io::AsyncWriteExt;
    prepare(&mut command, variables);
    let mut process = command.spawn().expect("the command starts");
    let mut stdin = process.stdin.take().expect("piped");
    // A command that asks nothing may be gone before it is told.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = tokio::time::timeout(LONG, process.wait_with_output());
    let output = output.await.expect("it ends").expect("it runs");
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
