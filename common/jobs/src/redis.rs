//! The fleet engine's queue, replies and signals: Redis, through apalis-redis.
//!
//! apalis-redis fetches and acknowledges; around it stands what it lacks (`queue.md` §3, where each trap was
//! reproduced), in scripts that keep to its layout:
//!
//! - *Pushing* is one script: gate, entry and bell. apalis' own push goes through its schedule, by the
//!   pusher's clock in whole seconds, and 8,000 due entries there wedge a queue for good.
//! - *Fetching* is decided by `redis/lane.rs`: what can begin at once, when a bell rang or after 50 ms.
//! - *Liveness* is decided by `redis/worker.rs`: by the server's clock, with bounded steps.
//! - *Collecting* what is finished: apalis-redis keeps it for ever.
//!
//! Redis holds ids and sealed bytes only (`Job`), and may lose all of it at any time: rows are the truth,
//! and [`Queue::epoch`] tells when to say everything again.

mod codec;
mod lane;
mod link;
mod replies;
mod scripts;
mod worker;

use futures::{FutureExt, future::BoxFuture};
use redis::RedisError;
use tokio_util::sync::CancellationToken;

pub use self::{
    link::{LinkError, NAMESPACE, Redis, ServerFacts},
    replies::{RedisReplies, RedisSignals},
};
use crate::{
    job::{Job, Urgency},
    queue::{Depth, Execute, PushError, Queue, QueueError, RunOptions},
};

/// Entries that may wait in a queue: as many as a worker takes in a second at the worst, and half of what
/// apalis-redis' scripts can carry in one step.
pub const MAX_ENTRIES: usize = 4000;
/// Bytes of payload that a queue holds in Redis (256 MiB), finished and uncollected ones included.
pub const MAX_BYTES: usize = 256 << 20;

/// The fleet's queue: one apalis-redis queue per urgency.
#[derive(Clone, Debug)]
pub struct RedisQueue {
    redis: Redis,
}

impl RedisQueue {
    /// Over this link.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    fn keys(&self, urgency: Urgency) -> Keys {
        Keys {
            queue: self.redis.key(urgency.as_str()),
        }
    }

    async fn push_now(&self, job: Job) -> Result<(), PushError> {
        let urgency = job.urgency;
        let keys = self.keys(urgency);
        let payload = codec::pack(job).map_err(|error| PushError::Unavailable(Box::new(error)))?;
        let (taken, entries) = scripts::PUSH
            .key(keys.key("active"))
            .key(keys.key("data"))
            .key(keys.key("seq"))
            .key(keys.key("bytes"))
            .arg(payload)
            .arg(MAX_ENTRIES)
            .arg(MAX_BYTES)
            .arg(keys.key("meta:"))
            .arg(self.redis.key(link::BELL))
            .arg(urgency.as_str())
            .invoke_async::<(bool, usize)>(&mut self.redis.connection())
            .await
            .map_err(unavailable)?;
        if taken {
            Ok(())
        } else {
            Err(PushError::Full { urgency, entries })
        }
    }
}

fn unavailable(error: RedisError) -> PushError {
    PushError::Unavailable(Box::new(error))
}

/// The keys of one queue, named as apalis-redis names them.
#[derive(Clone, Debug)]
struct Keys {
    queue: String,
}

impl Keys {
    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.queue)
    }
}

impl Queue for RedisQueue {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), PushError>> {
        self.push_now(job).boxed()
    }

    fn depth(&self, urgency: Urgency) -> BoxFuture<'_, Result<Depth, PushError>> {
        async move {
            let keys = self.keys(urgency);
            let (entries, bytes, oldest) = scripts::DEPTH
                .key(keys.key("active"))
                .key(keys.key("bytes"))
                .arg(keys.key("meta:"))
                .invoke_async::<(usize, usize, u64)>(&mut self.redis.connection())
                .await
                .map_err(unavailable)?;
            Ok(Depth {
                entries,
                bytes,
                oldest: std::time::Duration::from_millis(oldest),
            })
        }
        .boxed()
    }

    fn epoch(&self) -> BoxFuture<'_, Result<Option<String>, PushError>> {
        async move {
            let epoch = self.redis.epoch().await;
            epoch
                .map(Some)
                .map_err(|error| PushError::Unavailable(Box::new(error)))
        }
        .boxed()
    }

    fn run(
        &self,
        urgency: Urgency,
        options: RunOptions,
        execute: Execute,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), QueueError>> {
        let (redis, keys) = (self.redis.clone(), self.keys(urgency));
        worker::Runner {
            redis,
            keys,
            urgency,
            options,
            execute,
        }
        .run(stop)
        .boxed()
    }
}
