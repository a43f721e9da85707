//! Private PostgreSQL and Redis servers for tests and benchmarks: each on a free port of 127.0.0.1, in a
//! temporary directory, ended with its handle. They are steered by signals and by their own tools, so this
//! crate needs no client library.
//!
//! A server stays in the process group of whoever starts it: what ends the group ends it too, and Ctrl-C at a
//! terminal reaches it as well.

mod postgres;
mod process;
mod redis;

pub use self::{postgres::PrivatePostgres, redis::PrivateRedis};

/// Why a private server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its programs are not on this machine.
    #[error("'{0}' is not installed: tests/run installs it, or use your package manager")]
    Missing(&'static str),
    /// It did not come up; with the end of its log.
    #[error("{server} does not come up: {log}")]
    Down {
        /// Which.
        server: &'static str,
        /// Its last words.
        log: String,
    },
    /// A command was refused.
    #[error("{server} refused: {answer}")]
    Refused {
        /// Which.
        server: &'static str,
        /// What it said.
        answer: String,
    },
    /// The system refused something.
    #[error("a private server cannot be run")]
    System(#[from] std::io::Error),
}
