//! The harness of the whole-platform tests: the real binary in real processes, a partner's program and an
//! end user's browser over HTTP, and the sandbox's own account of what it saw. Nothing here sleeps: it waits
//! for a line of output, a counter of the sandbox, or the end of a process.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a harness: a failure is a panic"
)]

pub mod browser;
pub mod engine;
pub mod http;
pub mod partner;
pub mod poll;
pub mod process;
pub mod receiver;
pub mod sandbox;
pub mod server;

pub use browser::Browser;
pub use engine::{Engine, Fleet};
pub use http::{Answer, Http};
pub use partner::Partner;
pub use poll::until;
pub use process::{Child, run};
pub use sandbox::Sandbox;
pub use server::{Server, ServerOptions};

/// How long anything may take before a test calls it hanging: generous, because machines are slow at times.
pub const LONG: std::time::Duration = std::time::Duration::from_secs(60);
