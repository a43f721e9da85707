//! How a lane keeps running. apalis ends a worker at any error of Redis, so a lane has one worker after
//! another, each with a new name:
//!
//! ```text
//!          ┌──────────────── Redis answers a first beat ───────────────┐
//!          v                                                           │
//!   ┌─────────────┐   an error of Redis   ┌──────────┐   all ended   ┌─┴──────┐
//!   │   working   │──────────────────────>│ draining │──────────────>│ settled│
//!   │ fetch, run  │────── stop ──────────>│ run, ack │               └────────┘
//!   └─────────────┘                       └──────────┘
//! ```
//!
//! A worker that broke drains beside its successor: what it fetched and never began (the answer to a fetch
//! may be lost) waits again at once; its jobs run to their end; then it is *settled*, which marks as done
//! what ended without an acknowledgement. The slots are the lane's, so the two never run more than one
//! worker may.
//!
//! Each worker *beats* every 2 s by the server's clock. One that is silent for 10 s is dead, and whoever
//! sees it settles it: its entries wait again at the front, so they run elsewhere within 13 s of a kill.
//! Nobody judges others right after an absence of its own: after an outage of Redis, all are late alike.

use std::{sync::Arc, time::Duration};

use apalis_core::worker::event::Event;
use futures::StreamExt;
use redis::{RedisError, aio::ConnectionManager};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Keys,
    lane::{self, Begun, Running, Slots},
    link::{AGAIN, BELL, Redis},
    scripts,
};
use crate::{
    job::Urgency,
    queue::{Execute, QueueError, RunOptions},
};

/// How often a worker says that it lives.
const BEAT: Duration = Duration::from_secs(2);
/// After how long a silence it counts as dead, in milliseconds: five beats.
const SILENCE_MS: i64 = 10_000;
/// How long a worker must have beaten without a gap before it judges others, in milliseconds: after an outage,
/// everyone else has had two beats by then.
const STEADY_MS: i64 = 5_000;
/// A gap between two beats of this many milliseconds was an absence, or a jump of the server's clock.
const GAP_MS: u64 = 4_000;
/// How often finished entries are collected while there are few.
const COLLECT: Duration = Duration::from_millis(200);
/// Entries collected in one step, which holds Redis up for about a millisecond.
const SLICE: usize = 500;
/// How often settling is tried before the entries are left to be found by another worker.
const SETTLE_TRIES: u32 = 40;

/// The wait before a worker that broke is followed by another, doubled up to the most while none of them
/// runs a job.
const RESTART: Duration = Duration::from_millis(50);
const RESTART_MOST: Duration = Duration::from_secs(2);

/// A lane of this process.
pub(super) struct Runner {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    pub(super) urgency: Urgency,
    pub(super) options: RunOptions,
    pub(super) execute: Execute,
}

impl Runner {
    /// Keeps a worker running until `stop`; then lets all of them finish.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), QueueError> {
        let runner = Arc::new(self);
        let slots = Slots::new(runner.options.concurrency);
        let mut draining = JoinSet::new();
        let (mut number, mut pause) = (0_u64, RESTART);
        while !stop.is_cancelled() {
            number += 1;
            let name = format!("{}.{number}", runner.options.name);
            let Some(worker) = stop.run_until_cancelled(runner.begin(name, &slots)).await else {
                break;
            };
            let mut worker = worker?;
            // One that broke before it ran anything breaks again at once, as long as its reason lasts.
            pause = if worker.work(&stop).await {
                RESTART
            } else {
                (pause * 2).min(RESTART_MOST)
            };
            let ending = Arc::clone(&runner);
            draining.spawn(async move { ending.end(worker).await });
            while draining.try_join_next().is_some() {}
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        while draining.join_next().await.is_some() {}
        Ok(())
    }

    /// The next worker, once Redis answers its first beat: dead workers are found by their beats.
    async fn begin(self: &Arc<Self>, name: String, slots: &Slots) -> Result<Worker, QueueError> {
        let failed = |name: String| {
            move |error: RedisError| QueueError {
                worker: name,
                source: Box::new(error),
            }
        };
        let connection = self.redis.own_connection().map_err(failed(name.clone()))?;
        let mut waiting = false;
        while let Err(error) = self.beat(&connection, &name).await {
            if !waiting {
                tracing::warn!(worker = name, %error, "a worker waits for Redis");
            }
            waiting = true;
            tokio::time::sleep(AGAIN).await;
        }
        if waiting {
            tracing::info!(worker = name, "Redis is back");
        }
        let bell = self.redis.ears().bell(self.urgency);
        let running = lane::worker(
            &self.keys.queue,
            &name,
            connection.clone(),
            bell,
            slots,
            self.execute.clone(),
        );
        let keeper = Arc::clone(self);
        let (kept, keeping) = (name.clone(), connection.clone());
        let keeping = tokio::spawn(async move {
            futures::join!(
                keeper.keep_beating(&keeping, &kept),
                keeper.keep_collecting(&keeping)
            );
        });
        Ok(Worker {
            name,
            connection,
            running,
            _keeping: AbortOnDropHandle::new(keeping),
        })
    }

    /// Lets a worker's jobs end, and settles it.
    async fn end(&self, worker: Worker) {
        let Worker {
            name,
            connection,
            running:
                Running {
                    context,
                    mut events,
                    begun,
                },
            _keeping,
        } = worker;
        let drained = async {
            // One that never began has nothing to end, and would begin if it were polled.
            if context.stop().is_ok() {
                // An error now is that of the last acknowledgements; apalis panics if it is asked again.
                while let Some(Ok(_)) = events.next().await {}
            }
        };
        // What it fetched and never began need not wait until everything else has ended.
        futures::join!(drained, self.settle_own(&connection, &name, false, &begun));
        self.settle_own(&connection, &name, true, &begun).await;
        // Its last entries were finished after its last round of collecting.
        while matches!(self.collect(&connection).await, Ok(SLICE..)) {}
    }

    /// Settles a worker of this process, for the last time or while it drains.
    async fn settle_own(
        &self,
        connection: &ConnectionManager,
        name: &str,
        last: bool,
        begun: &Begun,
    ) {
        for _ in 0..SETTLE_TRIES {
            match self
                .settle(connection, name, Silence::Own { last }, &begun.ids())
                .await
            {
                Ok(again) => {
                    if again > 0 {
                        tracing::info!(worker = name, again, "fetched entries wait again");
                    }
                    return;
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
        tracing::warn!(worker = name, "a worker is left for another one to settle");
    }

    /// Says that a worker lives; answers the server's time in ms and who is silent.
    async fn beat(
        &self,
        connection: &ConnectionManager,
        name: &str,
    ) -> Result<(i64, Vec<String>), RedisError> {
        scripts::BEAT
            .key(self.keys.key("alive"))
            .arg(name)
            .arg(SILENCE_MS)
            .invoke_async(&mut connection.clone())
            .await
    }

    async fn keep_beating(&self, connection: &ConnectionManager, name: &str) {
        let mut ticks = tokio::time::interval(BEAT);
        let (mut last, mut steady_since) = (0, i64::MAX);
        loop {
            ticks.tick().await;
            // Redis is away, or thinks: the worker itself notices.
            let Ok((now, silent)) = self.beat(connection, name).await else {
                continue;
            };
            if now.abs_diff(last) > GAP_MS {
                steady_since = now;
            }
            last = now;
            if now.saturating_sub(steady_since) < STEADY_MS {
                continue;
            }
            for dead in silent {
                if let Ok(again @ 0..) = self.settle(connection, &dead, Silence::Dead, &[]).await {
                    tracing::warn!(
                        worker = dead,
                        again,
                        "a worker is dead; its jobs wait again"
                    );
                }
            }
        }
    }

    async fn settle(
        &self,
        connection: &ConnectionManager,
        name: &str,
        silence: Silence,
        begun: &[u64],
    ) -> Result<i64, RedisError> {
        let keys = &self.keys;
        let (silence_ms, last) = match silence {
            Silence::Own { last } => (-1, last),
            Silence::Dead => (SILENCE_MS, true),
        };
        let mut script = scripts::SETTLE.prepare_invoke();
        script
            .key(keys.key("alive"))
            .key(keys.key("workers"))
            .key(keys.key(&format!("inflight:{name}")))
            .key(keys.key("active"))
            .key(keys.key("data"))
            .key(keys.key("done"))
            .key(keys.key(&format!("workers:metadata:{name}")))
            .arg(name)
            .arg(silence_ms)
            .arg(u8::from(last))
            .arg(keys.key("meta:"))
            .arg(self.redis.key(BELL))
            .arg(self.urgency.as_str());
        for id in begun {
            script.arg(*id);
        }
        script.invoke_async(&mut connection.clone()).await
    }

    async fn keep_collecting(&self, connection: &ConnectionManager) {
        loop {
            if self.collect(connection).await.is_ok_and(|n| n >= SLICE) {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(COLLECT).await;
            }
        }
    }

    /// Forgets a slice of finished entries; answers how many.
    async fn collect(&self, connection: &ConnectionManager) -> Result<usize, RedisError> {
        scripts::COLLECT
            .key(self.keys.key("done"))
            .key(self.keys.key("data"))
            .key(self.keys.key("bytes"))
            .arg(SLICE)
            .arg(self.keys.key("meta:"))
            .invoke_async(&mut connection.clone())
            .await
    }
}

/// Why a worker may be settled.
#[derive(Clone, Copy)]
enum Silence {
    /// It is the caller's own, and drains or has ended (`last`).
    Own { last: bool },
    /// It has been silent for too long.
    Dead,
}

/// One worker of a lane.
struct Worker {
    name: String,
    connection: ConnectionManager,
    running: Running,
    /// Its beats and its collecting, which end with it.
    _keeping: AbortOnDropHandle<()>,
}

impl Worker {
    /// Works until the stop, or until Redis breaks it; tells whether it ran a job.
    async fn work(&mut self, stop: &CancellationToken) -> bool {
        let mut ran = false;
        loop {
            tokio::select! {
                event = self.running.events.next() => match event {
                    Some(Ok(event)) => ran |= matches!(event, Event::Success(_)),
                    Some(Err(error)) => {
                        tracing::warn!(worker = self.name, %error, "a worker broke; another begins");
                        return ran;
                    }
                    None => return ran,
                },
                () = stop.cancelled() => return ran,
            }
        }
    }
}
