//! One queue's apalis worker: apalis-redis fetches entries, and acknowledges what is done. This is the only
//! file that names it. Around it stand a [`Tap`], which sees how many entries a fetch brought, and
//! [`Lane`], which decides when to fetch:
//!
//! - only when a whole batch can begin at once. Entries that were fetched and wait for a slot hold up
//!   acknowledgements, and other workers cannot have them;
//! - when the bell rang, after a full batch, and every 50 ms (a bell may be lost). What rings during a
//!   fetch counts for the next one, so no wake-up is lost, and the timer is polled until it waits, so it
//!   always runs. (apalis' own interval strategy does neither: `queue.md` §3.3.)

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    error::WorkerError,
    task::{Task, task_id::TaskId},
    worker::{builder::WorkerBuilder, context::WorkerContext, event::Event},
};
use apalis_redis::{Config, RedisStorage};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, ConnectionManager},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::PollSemaphore;
use tower::Service;

use super::{codec, link::Bell};
use crate::{memory::locked, queue::Execute};

/// How often a worker looks for entries although no bell rang.
const TICK: Duration = Duration::from_millis(50);
/// The largest batch. Larger ones are hardly faster, and leave more slots empty while a worker is busy.
const BATCH: usize = 16;
/// No fetch came back.
const NONE: usize = usize::MAX;
/// apalis-redis judges by the clocks of processes who is dead, and puts back everything that a dead worker
/// held in one step that fails beyond 8,000 entries. Clocks may be minutes apart, so its heart never beats:
/// ours does, by the server's clock (`worker.rs`).
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// apalis-redis' settings for a queue (`queue.md`, at the top).
fn config(queue: &str, batch: usize) -> Config {
    Config::default()
        .queue(queue)
        .batch_size(batch)
        .heartbeat_interval(NEVER)
        .missed_heartbeats(1)
        // Locking removes each id from the whole list of waiting ones: linear in the backlog.
        .lock_tasks(false)
        // Without results nothing is acknowledged. Handlers return `()`.
        .persist_results(true)
        .emit_events(false)
}

/// How many entries one fetch brings at most. Fewer free slots than that stay empty until more are free, so
/// it is one in eight of them.
fn batch(concurrency: usize) -> usize {
    (concurrency / 8).clamp(1, BATCH)
}

/// A worker as apalis runs it: its name, its switch and what happens in it.
pub(super) struct Running {
    pub(super) context: WorkerContext,
    pub(super) events: BoxStream<'static, Result<Event, WorkerError>>,
    pub(super) begun: Arc<Begun>,
}

/// Makes a worker of this name. Nothing happens until its events are polled.
pub(super) fn worker(
    queue: &str,
    name: &str,
    connection: ConnectionManager,
    bell: Arc<Bell>,
    slots: &Slots,
    execute: Execute,
) -> Running {
    let fetched = Arc::new(AtomicUsize::new(NONE));
    let batch = batch(slots.concurrency);
    let tap = Tap {
        connection,
        fetched: Arc::clone(&fetched),
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lane = Lane {
        inner: RedisStorage::new(tap).with_config(config(queue, batch)),
        fetched,
        bell,
        tick,
        free: PollSemaphore::new(Arc::clone(&slots.free)),
        batch,
        concurrency: slots.concurrency,
        reserved: None,
        phase: Phase::Idle,
        due: true,
    };
    let begun = Arc::new(Begun::keeping(4 * slots.concurrency));
    let handler = Handler {
        execute,
        begun: Arc::clone(&begun),
    };
    let context = WorkerContext::new(name);
    let events = WorkerBuilder::new(context.clone())
        .backend(lane)
        .build(handler)
        .stream()
        .boxed();
    Running {
        context,
        events,
        begun,
    }
}

/// The jobs that may be at work at once, over all workers that a lane has one after the other.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    concurrency: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    pub(super) fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            concurrency,
            free: Arc::new(Semaphore::new(concurrency)),
        }
    }
}

/// A fetched entry on its way to the handler, with the slot it runs in.
#[derive(Debug)]
struct Entry {
    payload: Vec<u8>,
    slot: OwnedSemaphorePermit,
}

/// Where a lane is between two fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Fetching,
    /// This many entries came and are not handed on yet.
    Buffered(usize),
}

/// One queue as an apalis backend that only fetches what can begin at once.
struct Lane {
    inner: RedisStorage<Vec<u8>, Tap>,
    fetched: Arc<AtomicUsize>,
    bell: Arc<Bell>,
    tick: Interval,
    free: PollSemaphore,
    batch: usize,
    concurrency: usize,
    reserved: Option<OwnedSemaphorePermit>,
    phase: Phase,
    due: bool,
}

impl Lane {
    /// Reserves slots for a whole batch; ready when they are.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reserved = self
            .reserved
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = u32::try_from(self.batch - reserved).unwrap_or(u32::MAX);
        if wanted > 0 {
            // The semaphore is never closed.
            let Some(more) = ready!(self.free.poll_acquire_many(cx, wanted)) else {
                return Poll::Pending;
            };
            match &mut self.reserved {
                Some(reserved) => reserved.merge(more),
                None => self.reserved = Some(more),
            }
        }
        Poll::Ready(())
    }

    /// Takes the next entry of the batch that came, with its slot.
    fn hand_on(&mut self, task: Task<Vec<u8>>) -> Option<Task<Entry>> {
        let left = match self.phase {
            Phase::Buffered(left) => left,
            Phase::Idle | Phase::Fetching => {
                let came = self.fetched.swap(NONE, Ordering::AcqRel);
                // After a full batch there may be more.
                self.due |= came >= self.batch;
                came
            }
        };
        self.phase = if left > 1 {
            Phase::Buffered(left - 1)
        } else {
            Phase::Idle
        };
        let slot = self.reserved.as_mut()?.split(1)?;
        Some(task.map_args(|payload| Entry { payload, slot }))
    }
}

impl Backend for Lane {
    type Task = Task<Entry>;
    type Error = apalis_redis::Error;

    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Result<(), Self::Error>> {
        Backend::poll_ready(&mut self.inner, cx, worker)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Entry>, Self::Error>>> {
        self.due |= self.bell.rang(cx);
        while self.tick.poll_tick(cx).is_ready() {
            self.due = true;
        }
        loop {
            if self.phase == Phase::Idle {
                if !self.due {
                    // Other workers of this lane may need the slots: one that broke still drains.
                    self.reserved = None;
                    return Poll::Pending;
                }
                ready!(self.poll_room(cx));
                self.due = false;
                self.phase = Phase::Fetching;
            }
            match self.inner.poll_next(cx, worker) {
                Poll::Ready(Some(Ok(task))) => match self.hand_on(task) {
                    Some(task) => return Poll::Ready(Some(Ok(task))),
                    // More than a batch never comes; if it did, the entry would be settled later.
                    None => return Poll::Ready(None),
                },
                Poll::Ready(Some(Err(error))) => {
                    self.reserved = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.reserved = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    if self.fetched.swap(NONE, Ordering::AcqRel) != 0 {
                        return Poll::Pending;
                    }
                    // It came back with nothing.
                    self.phase = Phase::Idle;
                }
            }
        }
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Result<(), Self::Error>> {
        self.reserved = None;
        Backend::poll_close(&mut self.inner, cx, worker)
    }
}

impl BackendConfig for Lane {
    type Args = Entry;
    type Id = u64;
    type Kind = Ephemeral;
    type Config = Config;
    type Layer = <RedisStorage<Vec<u8>, Tap> as BackendConfig>::Layer;

    fn config(&self) -> &Config {
        self.inner.config()
    }

    /// apalis makes its channel of acknowledgements four batches long, and empties it only between fetches:
    /// not while a worker stops. If more jobs than that end then, they wait for the channel, and the stop for
    /// them, for ever. So the channel is made as if a batch were all slots.
    fn middleware(&mut self, worker: &mut WorkerContext) -> Self::Layer {
        let settings = self.inner.get_config().clone();
        let roomy = settings.clone().batch_size(self.concurrency);
        let bare = self.inner.clone();
        self.inner = std::mem::replace(&mut self.inner, bare).with_config(roomy);
        let layer = self.inner.middleware(worker);
        let bare = self.inner.clone();
        self.inner = std::mem::replace(&mut self.inner, bare).with_config(settings);
        layer
    }
}

/// The connection that apalis-redis uses, watched: it alone knows how many entries a fetch brought.
#[derive(Clone)]
struct Tap {
    connection: ConnectionManager,
    fetched: Arc<AtomicUsize>,
}

impl ConnectionLike for Tap {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        async move {
            let answer = self.connection.send_packed_command(command).await?;
            // Only a fetch answers with two lists: the payloads and their meta fields.
            if let Value::Array(lists) = &answer
                && let [Value::Array(payloads), Value::Array(_)] = lists.as_slice()
            {
                self.fetched.store(payloads.len(), Ordering::Release);
            }
            Ok(answer)
        }
        .boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// The entries that a worker began and that Redis may not know as done: those that run, and the last ones
/// that ended, whose acknowledgement may not have arrived.
#[derive(Debug)]
pub(super) struct Begun {
    ids: Mutex<(HashSet<u64>, VecDeque<u64>)>,
    /// Acknowledgements under way: those of all slots, and the batch that waits for them.
    ended_max: usize,
}

impl Begun {
    fn keeping(ended_max: usize) -> Self {
        Self {
            ids: Mutex::default(),
            ended_max,
        }
    }

    fn begin(&self, id: u64) {
        locked(&self.ids).0.insert(id);
    }

    fn end(&self, id: u64) {
        let (running, ended) = &mut *locked(&self.ids);
        running.remove(&id);
        if ended.len() >= self.ended_max {
            ended.pop_front();
        }
        ended.push_back(id);
    }

    /// Their ids.
    pub(super) fn ids(&self) -> Vec<u64> {
        let (running, ended) = &*locked(&self.ids);
        running.iter().chain(ended).copied().collect()
    }
}

/// Runs each job on a task of its own: apalis polls all handlers of a worker on one, and a worker that
/// breaks must not take its jobs with it. It never fails: an error would make apalis try again by itself.
#[derive(Clone, Debug)]
struct Handler {
    execute: Execute,
    begun: Arc<Begun>,
}

impl Service<Task<Entry>> for Handler {
    type Response = ();
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Entry>) -> Self::Future {
        // Ids of ours are numbers (`scripts::PUSH`).
        let id = task.task_id().and_then(TaskId::as_int).unwrap_or(0);
        self.begun.begin(id);
        let (Entry { payload, slot }, _) = task.take();
        let execute = self.execute.clone();
        let work = tokio::spawn(async move {
            match codec::unpack(&payload) {
                Ok(job) => {
                    drop(payload);
                    execute.run(job).await;
                }
                // Its row, if it has one, is pushed again by whoever finds it waiting.
                Err(error) => tracing::error!(id, %error, "an entry that is no job was dropped"),
            }
            drop(slot);
        });
        let begun = Arc::clone(&self.begun);
        async move {
            if work.await.is_err() {
                tracing::error!(id, "a job panicked through its runner");
            }
            begun.end(id);
            Ok(())
        }
        .boxed()
    }
}
