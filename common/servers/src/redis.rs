//! [`PrivateRedis`].

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    ServerError,
    process::{free_port, until},
};

/// Tries to find a port that stays free.
const TRIES: usize = 5;
/// How long the server may take to answer a command of ours.
const ANSWER: Duration = Duration::from_secs(30);
const NAME: &str = "redis-server";

/// A Redis without persistence.
#[derive(Debug)]
pub struct PrivateRedis {
    child: Child,
    port: u16,
    settings: Vec<String>,
}

impl PrivateRedis {
    /// Starts one.
    ///
    /// # Errors
    /// [`ServerError`] when it is not installed or does not come up.
    pub async fn start() -> Result<Self, ServerError> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings (`["--maxmemory-policy", "allkeys-lru"]`).
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start_with(settings: &[&str]) -> Result<Self, ServerError> {
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        for _ in 0..TRIES {
            let port = free_port()?;
            let mut server = Self {
                child: spawn(port, &settings)?,
                port,
                settings: settings.clone(),
            };
            if server.comes_up().await? {
                return Ok(server);
            }
        }
        Err(down())
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends one command; its answer as text, an array one element a line.
    ///
    /// # Errors
    /// [`ServerError::Refused`] for an error answer, [`ServerError::System`] if nothing answers.
    pub fn command(&self, words: &[&str]) -> Result<String, ServerError> {
        ask(self.port, words)
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// [`ServerError::System`] if it is gone already.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again at the same address, empty.
    ///
    /// # Errors
    /// [`ServerError`] if it does not come up.
    pub async fn start_again(&mut self) -> Result<(), ServerError> {
        self.child = spawn(self.port, &self.settings)?;
        if self.comes_up().await? {
            Ok(())
        } else {
            Err(down())
        }
    }

    /// Has it stand still for so long: connections stand, nothing answers, no key expires. Returns when it goes on.
    ///
    /// # Errors
    /// [`ServerError::System`] if it is gone.
    pub async fn stand_still(&self, time: Duration) -> Result<(), ServerError> {
        let (port, seconds) = (self.port, time.as_secs_f64().to_string());
        let slept = tokio::task::spawn_blocking(move || ask(port, &["DEBUG", "SLEEP", &seconds]));
        slept.await.map_err(std::io::Error::other)??;
        Ok(())
    }

    async fn comes_up(&mut self) -> Result<bool, ServerError> {
        let (child, port) = (&mut self.child, self.port);
        until(|| {
            if child.try_wait()?.is_some() {
                return Ok(Some(false));
            }
            Ok(ask(port, &["PING"]).is_ok().then_some(true))
        })
        .await
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn down() -> ServerError {
    ServerError::Down {
        server: NAME,
        log: "it ended or did not answer within 30 s".to_owned(),
    }
}

fn spawn(port: u16, settings: &[String]) -> Result<Child, ServerError> {
    let fixed = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    // For `stand_still`.
    let local = ["--enable-debug-command", "local"];
    let spawned = Command::new(NAME)
        .args(["--port", &port.to_string(), "--loglevel", "warning"])
        .args(fixed)
        .args(local)
        .args(settings)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ServerError::Missing(NAME))
        }
        spawned => Ok(spawned?),
    }
}

/// One command in the wire protocol (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
fn ask(port: u16, words: &[&str]) -> Result<String, ServerError> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let head = format!("*{}\r\n", words.len());
    let command = words.iter().fold(head, |command, word| {
        command + &format!("${}\r\n{word}\r\n", word.len())
    });
    stream.write_all(command.as_bytes())?;
    read(&mut BufReader::new(stream))
}

fn read(from: &mut impl BufRead) -> Result<String, ServerError> {
    let mut head = String::new();
    from.read_line(&mut head)?;
    let head = head.trim_end();
    let rest = head.get(1..).unwrap_or_default().to_owned();
    let length = || {
        rest.parse::<i64>()
            .ok()
            .and_then(|n| usize::try_from(n).ok())
    };
    match head.as_bytes().first() {
        Some(b'+' | b':') => Ok(rest),
        Some(b'$') => {
            let Some(length) = length() else {
                return Ok(String::new());
            };
            let mut body = vec![0; length + 2];
            from.read_exact(&mut body)?;
            body.truncate(length);
            Ok(String::from_utf8_lossy(&body).into_owned())
        }
        Some(b'*') => {
            let lines: Result<Vec<String>, _> =
                (0..length().unwrap_or(0)).map(|_| read(from)).collect();
            Ok(lines?.join("\n"))
        }
        _ => Err(ServerError::Refused {
            server: NAME,
            answer: head.to_owned(),
        }),
    }
}
