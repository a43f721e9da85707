//! How a role comes up and goes down: settings, the [`Context`] that every role gets, the [`Stopper`] that
//! ends it, the HTTP listener, the admin port, and the data directory with its lock.

pub mod admin;
mod bounded_write;
pub mod config;
pub mod context;
pub mod data_dir;
mod database_clock;
pub mod engine;
pub mod error;
pub mod fleet;
pub mod listen;
pub mod revocation;
pub mod sealer;
pub mod stopper;

pub use config::{Config, ConfigError, Role};
pub use context::Context;
pub use data_dir::{DataDir, RunFile};
pub use error::StartError;
pub use revocation::revocation;
pub use sealer::{SealError, Sealer, SealingKey};
pub use stopper::Stopper;
