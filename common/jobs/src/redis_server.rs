//! A Redis of a test's own: on a free port, without persistence, ended with the test. `tests/run` installs
//! `redis-server` where it is missing; without it such a test fails and says so.

#![expect(clippy::unwrap_used, reason = "for tests: a failure is a panic")]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A private server.
#[derive(Debug)]
pub struct PrivateRedis {
    child: Child,
    port: u16,
}

impl PrivateRedis {
    /// Starts one.
    ///
    /// # Panics
    /// If the machine has no `redis-server`, or none comes up.
    pub async fn start() -> Self {
        for _ in 0..5 {
            // The port is free now; should another process take it first, the next try finds another one.
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let child = spawn(port).expect("redis-server is installed: tests/run does it");
            let mut server = Self { child, port };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server does not come up");
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection for the test's own commands.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn admin(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at the same address, empty.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.port).unwrap();
        assert!(self.answers().await, "redis-server does not come up again");
    }

    async fn answers(&mut self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..500 {
            tick.tick().await;
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
            {
                return true;
            }
        }
        false
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(port: u16) -> std::io::Result<Child> {
    let settings = [
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--loglevel",
        "warning",
    ];
    Command::new("redis-server")
        .args(["--port", &port.to_string()])
        .args(settings)
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
