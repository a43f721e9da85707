//! Jobs: what asynchronous work is, and how it travels. A [`Job`] is a struct of ids with a kind; a handler
//! ends it with an [`Outcome`]; a [`Queue`] carries it to a worker; [`Replies`] bring the answer back to a
//! caller that waits, and [`Signals`] wake those who wait for a row to change.
//!
//! The queue carries wake-ups, never the truth: what must not be lost is a row before it is queued, and a
//! job that runs twice finds its row claimed. So handlers always tell the queue "done"; attempts, back-off
//! and dead letters live in rows (`jobs` in the store).

pub mod bench;
pub mod frame;
pub mod job;
pub mod kinds;
pub mod memory;
pub mod queue;
pub mod redis;
pub mod replies;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod redis_server;

/// A job whose worker was lost this often is dead: it may be what ends them.
pub const MOST_LOST: u32 = 3;

pub use job::{Job, JobKind, KindInfo, Outcome, PayloadError, Urgency};
pub use memory::{MemoryQueue, MemoryReplies, MemorySignals};
pub use queue::{Depth, Execute, PushError, Queue, QueueError, RunOptions};
pub use redis::{Redis, RedisQueue, RedisReplies, RedisSignals};
pub use replies::{Replies, Signal, Signals};
