//! The embedded engine's queue, replies and signals: everything in this process. The queue is an apalis
//! `Backend` of our own over bounded lanes, so that the worker around it is the one the fleet uses.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    error::WorkerError,
    task::{Task, builder::TaskBuilder, task_id::RandomId},
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::{Clock, ReplyId};
use tokio::sync::{Notify, futures::OwnedNotified, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::{Service, layer::util::Identity, limit::ConcurrencyLimitLayer};

use crate::{
    job::{Job, Urgency},
    queue::{Depth, Execute, PushError, Queue, QueueError, RunOptions},
    replies::{Replies, Signal, Signals},
};

/// Entries a lane holds: more would only wait in memory instead of in rows, and be lost with the process.
pub const MAX_ENTRIES: usize = 4096;
/// Bytes a lane holds (256 MiB): bodies of calls that somebody waits for, twenty-five of the largest.
pub const MAX_BYTES: usize = 256 << 20;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a lane was held leaves whole entries in it: every change is a single push or pop.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Lane {
    jobs: VecDeque<Job>,
    bytes: usize,
    wakers: Vec<Waker>,
}

/// The in-process queue: one bounded lane per urgency.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    lanes: [Arc<Mutex<Lane>>; 3],
    clock: Arc<dyn Clock>,
}

impl MemoryQueue {
    /// Empty lanes; `clock` tells how long entries wait.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            lanes: Default::default(),
            clock,
        }
    }

    fn lane(&self, urgency: Urgency) -> &Arc<Mutex<Lane>> {
        &self.lanes[urgency as usize]
    }

    fn push_now(&self, job: Job) -> Result<(), PushError> {
        let urgency = job.urgency;
        let mut lane = locked(self.lane(urgency));
        if lane.jobs.len() >= MAX_ENTRIES || lane.bytes.saturating_add(job.weight()) > MAX_BYTES {
            return Err(PushError::Full {
                urgency,
                entries: lane.jobs.len(),
            });
        }
        lane.bytes += job.weight();
        lane.jobs.push_back(job);
        let wakers = std::mem::take(&mut lane.wakers);
        drop(lane);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Queue for MemoryQueue {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), PushError>> {
        std::future::ready(self.push_now(job)).boxed()
    }

    fn depth(&self, urgency: Urgency) -> BoxFuture<'_, Result<Depth, PushError>> {
        let lane = locked(self.lane(urgency));
        let depth = Depth {
            entries: lane.jobs.len(),
            bytes: lane.bytes,
            oldest: lane
                .jobs
                .front()
                .map_or(Duration::ZERO, |j| self.clock.now().since(j.queued_at)),
        };
        std::future::ready(Ok(depth)).boxed()
    }

    fn run(
        &self,
        urgency: Urgency,
        options: RunOptions,
        execute: Execute,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), QueueError>> {
        let backend = LaneBackend {
            lane: Arc::clone(self.lane(urgency)),
        };
        let handler = Handler { execute };
        let context = WorkerContext::new(&options.name);
        let stopper = context.clone();
        let worker = WorkerBuilder::new(context)
            .backend(backend)
            .layer(ConcurrencyLimitLayer::new(options.concurrency.max(1)))
            .build(handler);
        let run: BoxFuture<'static, Result<(), WorkerError>> = Box::pin(worker.run());
        async move {
            tokio::pin!(run);
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = stop.cancelled() => match stopper.stop() {
                    Ok(()) => run.await,
                    // It had stopped by itself in the same moment.
                    Err(_) => Ok(()),
                },
            };
            ended.map_err(|e| QueueError {
                worker: options.name,
                source: Box::new(e),
            })
        }
        .boxed()
    }
}

/// Runs each job on a task of its own: apalis polls all handlers of a worker on one.
#[derive(Clone, Debug)]
struct Handler {
    execute: Execute,
}

impl Service<Task<Job>> for Handler {
    type Response = ();
    type Error = JoinError;
    type Future = JoinHandle<()>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Job>) -> JoinHandle<()> {
        tokio::spawn(self.execute.run(task.args))
    }
}

/// One lane as an apalis backend. What was not fetched stays in the lane.
#[derive(Debug)]
struct LaneBackend {
    lane: Arc<Mutex<Lane>>,
}

impl Backend for LaneBackend {
    type Task = Task<Job>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Job>, Infallible>>> {
        let mut lane = locked(&self.lane);
        if let Some(job) = lane.jobs.pop_front() {
            lane.bytes = lane.bytes.saturating_sub(job.weight());
            return Poll::Ready(Some(Ok(TaskBuilder::new(job).build())));
        }
        if !lane.wakers.iter().any(|w| w.will_wake(cx.waker())) {
            lane.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for LaneBackend {
    type Args = Job;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

type Waiting = Arc<Mutex<HashMap<ReplyId, oneshot::Sender<Bytes>>>>;

/// In-process answers.
#[derive(Debug, Default)]
pub struct MemoryReplies {
    waiting: Waiting,
}

impl Replies for MemoryReplies {
    fn send(&self, id: ReplyId, answer: Bytes) -> BoxFuture<'_, ()> {
        if let Some(caller) = locked(&self.waiting).remove(&id) {
            // It may have gone in this moment; its answer goes with it.
            drop(caller.send(answer));
        }
        std::future::ready(()).boxed()
    }

    fn wait(&self, id: ReplyId, within: Duration) -> BoxFuture<'static, Option<Bytes>> {
        let (caller, answer) = oneshot::channel();
        locked(&self.waiting).insert(id, caller);
        let forget = Forget {
            waiting: Arc::clone(&self.waiting),
            id,
        };
        async move {
            let answer = tokio::time::timeout(within, answer).await;
            drop(forget);
            answer.ok().and_then(Result::ok)
        }
        .boxed()
    }
}

/// Forgets a caller that stops waiting, also when its future is dropped.
struct Forget {
    waiting: Waiting,
    id: ReplyId,
}

impl Drop for Forget {
    fn drop(&mut self) {
        locked(&self.waiting).remove(&self.id);
    }
}

/// In-process wake-ups.
#[derive(Debug, Default)]
pub struct MemorySignals {
    keys: Arc<Mutex<HashMap<u128, Weak<Notify>>>>,
}

struct MemorySignal {
    keys: Arc<Mutex<HashMap<u128, Weak<Notify>>>>,
    key: u128,
    woken: Option<Pin<Box<OwnedNotified>>>,
}

impl MemorySignals {
    /// Wakes every listener of `key`.
    pub(crate) fn wake(&self, key: u128) {
        let notify = locked(&self.keys).get(&key).and_then(Weak::upgrade);
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }

    /// Wakes every listener there is.
    pub(crate) fn wake_all(&self) {
        let all: Vec<_> = locked(&self.keys)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for notify in all {
            notify.notify_waiters();
        }
    }
}

impl Signals for MemorySignals {
    fn subscribe(&self, key: u128) -> Box<dyn Signal> {
        let mut keys = locked(&self.keys);
        let notify = keys.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        keys.insert(key, Arc::downgrade(&notify));
        drop(keys);
        // `notify_waiters` wakes futures that exist, polled or not.
        let woken = Some(Box::pin(notify.notified_owned()));
        Box::new(MemorySignal {
            keys: Arc::clone(&self.keys),
            key,
            woken,
        })
    }

    fn publish(&self, key: u128) -> BoxFuture<'_, ()> {
        self.wake(key);
        std::future::ready(()).boxed()
    }
}

impl Signal for MemorySignal {
    fn wait(mut self: Box<Self>, within: Duration) -> BoxFuture<'static, bool> {
        async move {
            match self.woken.as_mut() {
                Some(woken) => tokio::time::timeout(within, woken).await.is_ok(),
                None => false,
            }
        }
        .boxed()
    }
}

impl Drop for MemorySignal {
    fn drop(&mut self) {
        let mut keys = locked(&self.keys);
        // It holds the key's last strong count if nobody else listens.
        self.woken = None;
        if keys.get(&self.key).is_some_and(|w| w.strong_count() == 0) {
            keys.remove(&self.key);
        }
    }
}
