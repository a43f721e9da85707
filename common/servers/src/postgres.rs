//! [`PrivatePostgres`].

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    ServerError,
    process::{ended, free_port, signal, until},
};

const NAME: &str = "postgres";
/// Tries to find a port that stays free.
const TRIES: usize = 5;
/// Where distributions and Homebrew put the programs of a version, beside `PATH`.
const PLACES: [&str; 4] = [
    "/usr/lib/postgresql",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/usr/pgsql",
];
/// Bytes of the log that a failure shows.
const LAST_WORDS: usize = 2000;

/// A PostgreSQL with one database, `latchkey`, open to its one role of that name from this machine. Settings
/// are PostgreSQL's own, so what a commit promises it keeps.
#[derive(Debug)]
pub struct PrivatePostgres {
    // Before the directory, so that it has ended when the directory goes.
    child: Child,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    settings: Vec<String>,
    dir: TempDir,
}

impl PrivatePostgres {
    /// Starts one.
    ///
    /// # Errors
    /// [`ServerError`] when it is not installed or does not come up.
    pub async fn start() -> Result<Self, ServerError> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings (`["max_connections=300"]`).
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start_with(settings: &[&str]) -> Result<Self, ServerError> {
        let programs = programs()?;
        let owner = owner()?;
        let dir = tempfile::Builder::new().prefix("latchkey-pg-").tempdir()?;
        if let Some((user, group)) = owner {
            chown(dir.path(), Some(user), Some(group))?;
        }
        let data = dir.path().join("data");
        let mut make = program(&programs, "initdb", owner, dir.path());
        make.args([
            "--auth=trust",
            "--username=latchkey",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        let made = make.arg("-D").arg(&data).output()?;
        if !made.status.success() {
            return Err(refused(&made.stderr));
        }
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        for _ in 0..TRIES {
            let port = free_port()?;
            let mut child = spawn(&programs, owner, dir.path(), port, &settings)?;
            if comes_up(&mut child, &data).await? {
                let server = Self {
                    child,
                    programs,
                    owner,
                    port,
                    settings,
                    dir,
                };
                server.sql_in("postgres", "CREATE DATABASE latchkey")?;
                return Ok(server);
            }
        }
        Err(down(dir.path()))
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        self.url_of("latchkey")
    }

    /// The address of another database of it.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://latchkey@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL through `psql`; rows one a line, columns divided by `|`.
    ///
    /// # Errors
    /// [`ServerError::Refused`] with what it says.
    pub fn sql(&self, text: &str) -> Result<String, ServerError> {
        self.sql_in("latchkey", text)
    }

    /// The same in another database.
    ///
    /// # Errors
    /// [`ServerError::Refused`].
    pub fn sql_in(&self, database: &str, text: &str) -> Result<String, ServerError> {
        let mut psql = program(&self.programs, "psql", self.owner, self.dir.path());
        psql.args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
        ]);
        let done = psql
            .arg(self.url_of(database))
            .args(["-c", text])
            .output()?;
        if !done.status.success() {
            return Err(refused(&done.stderr));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    }

    /// Ends it as a crash does (SIGQUIT: no shutdown, recovery at the next start), with all connections.
    ///
    /// # Errors
    /// [`ServerError::System`] if it is gone already.
    pub async fn crash(&mut self) -> Result<(), ServerError> {
        signal(&self.child, Signal::QUIT)?;
        ended(&mut self.child).await?;
        Ok(())
    }

    /// Starts it again at the same address, with what was committed.
    ///
    /// # Errors
    /// [`ServerError`] if it does not come up.
    pub async fn start_again(&mut self) -> Result<(), ServerError> {
        self.child = spawn(
            &self.programs,
            self.owner,
            self.dir.path(),
            self.port,
            &self.settings,
        )?;
        if comes_up(&mut self.child, &self.dir.path().join("data")).await? {
            Ok(())
        } else {
            Err(down(self.dir.path()))
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // At once, and with its children and shared memory; kill -9 would leave those.
        drop(signal(&self.child, Signal::QUIT));
        drop(self.child.wait());
    }
}

fn refused(stderr: &[u8]) -> ServerError {
    ServerError::Refused {
        server: NAME,
        answer: String::from_utf8_lossy(stderr).trim().to_owned(),
    }
}

fn down(dir: &Path) -> ServerError {
    let log = fs::read(dir.join("log")).unwrap_or_default();
    let last = &log[log.len().saturating_sub(LAST_WORDS)..];
    ServerError::Down {
        server: NAME,
        log: String::from_utf8_lossy(last).trim().to_owned(),
    }
}

/// The directory of `initdb`, `postgres` and `psql`: of `PATH`, else the newest version installed. That
/// `PATH` holds the others too is looked at, because some distributions link only clients there.
fn programs() -> Result<PathBuf, ServerError> {
    let whole = |dir: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|name| dir.join(name).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(dir) = std::env::split_paths(&path).find(whole) {
        return Ok(dir);
    }
    let mut found: Vec<PathBuf> = PLACES
        .iter()
        .filter_map(|place| fs::read_dir(place).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(whole)
        .collect();
    found.sort_by_key(|dir| {
        let digits = dir
            .to_string_lossy()
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>();
        digits.parse::<u64>().unwrap_or(0)
    });
    found.pop().ok_or(ServerError::Missing("postgresql"))
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made.
fn owner() -> Result<Option<(u32, u32)>, ServerError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |line: &str| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let user = ["postgres:", "nobody:"].iter().find_map(|name| {
        users
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(ids)
    });
    user.map(Some)
        .ok_or(ServerError::Missing("a user 'postgres'"))
}

fn program(programs: &Path, name: &str, owner: Option<(u32, u32)>, dir: &Path) -> Command {
    let mut command = Command::new(programs.join(name));
    command.current_dir(dir).stdin(Stdio::null());
    // A setting of this shell must not lead elsewhere.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn spawn(
    programs: &Path,
    owner: Option<(u32, u32)>,
    dir: &Path,
    port: u16,
    settings: &[String],
) -> Result<Child, ServerError> {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    let mut command = program(programs, "postgres", owner, dir);
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir);
    command.args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

/// Waits until it takes connections: the last line of its pid file says so, and `pg_ctl -w` goes by it too.
async fn comes_up(child: &mut Child, data: &Path) -> Result<bool, ServerError> {
    let pid = child.id().to_string();
    until(|| {
        if child.try_wait()?.is_some() {
            return Ok(Some(false));
        }
        let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        // A file of before a crash names another process.
        let ours = file.lines().next().is_some_and(|line| line.trim() == pid);
        let ready = file
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready");
        Ok((ours && ready).then_some(true))
    })
    .await
}
