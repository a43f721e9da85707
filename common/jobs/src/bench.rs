//! How fast the fleet's queue is, and what it leaves in Redis. For an empty server of its own: it measures
//! the whole server's memory.
//!
//! Entries are *bare*: a handler that does nothing, one worker, as many slots as the default settings give.
//! Beside them stand plain Redis pushes and pops at the same concurrency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use latchkey_domain::{Clock, JobId, PartnerId, SessionId, SystemClock, Timestamp};
use redis::{RedisError, aio::MultiplexedConnection};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Execute, Job, PayloadError, PushError, Queue, QueueError, RedisQueue, RunOptions, Urgency,
    kinds::ExchangeCode, redis::LinkError,
};

/// Jobs at work at once: the default of `worker.interactive`.
pub const CONCURRENCY: usize = 256;
/// Tasks that push.
pub const PUSHERS: usize = 64;
/// The pause between two pushes of the latency figure: 50 a second.
const PACE: Duration = Duration::from_millis(20);
/// How long a pusher waits that found the gate closed. A full queue lasts for longer, and pushes that are refused
/// cost what jobs could use: 64 pushers at 2 ms took half of the server's time.
const FULL: Duration = Duration::from_millis(50);
/// How long the collector of finished entries has before memory is read: it comes round several times.
const SETTLE: Duration = Duration::from_secs(1);
/// Bytes of a raw entry: about what a bare job weighs.
const RAW_BYTES: usize = 400;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The worker ended.
    #[error("the worker of the measurement ended")]
    Worker(#[from] QueueError),
    /// The queue refused a job for another reason than being full.
    #[error("a job could not be pushed")]
    Push(#[from] PushError),
    /// The server cannot be used.
    #[error("the server cannot be used")]
    Link(#[from] LinkError),
    /// The server refused a plain command.
    #[error("the server refused a command")]
    Redis(#[from] RedisError),
    /// A payload did not serialize.
    #[error("a job could not be made")]
    Job(#[from] PayloadError),
    /// A task of the measurement panicked, or the server says nothing that was asked for.
    #[error("the measurement broke off: {0}")]
    Broken(&'static str),
}

fn job(n: usize) -> Result<Job, PayloadError> {
    let kind = ExchangeCode {
        session: SessionId::from_u128(n as u128),
    };
    let (id, partner) = (JobId::from_u128(n as u128), PartnerId::from_u128(1));
    Job::new(id, partner, &kind, Timestamp::from_secs(1))
}

/// Runs one worker of the interactive queue around some work.
///
/// # Errors
/// The work's, and [`BenchError::Worker`] if the worker does not end well.
pub async fn with_worker<T>(
    queue: &dyn Queue,
    execute: Execute,
    work: impl Future<Output = Result<T, BenchError>>,
) -> Result<T, BenchError> {
    let stop = CancellationToken::new();
    let options = RunOptions {
        name: format!("bench-{}", SystemClock.now().as_micros()),
        concurrency: CONCURRENCY,
    };
    let run = tokio::spawn(queue.run(Urgency::Interactive, options, execute, stop.clone()));
    let done = work.await;
    stop.cancel();
    run.await
        .map_err(|_| BenchError::Broken("the worker panicked"))??;
    done
}

/// Push to start of `pushes` jobs, 50 a second: sorted.
///
/// # Errors
/// [`BenchError`].
pub async fn push_to_start(queue: &RedisQueue, pushes: usize) -> Result<Vec<Duration>, BenchError> {
    let (tell, mut started) = mpsc::unbounded_channel();
    let execute = Execute::new(move |_| {
        // Without a listener the measurement has ended.
        tell.send(SystemClock.monotonic()).unwrap_or(());
        std::future::ready(()).boxed()
    });
    let work = async {
        let (mut pace, mut waits) = (tokio::time::interval(PACE), Vec::new());
        for n in 0..pushes {
            pace.tick().await;
            let pushed = SystemClock.monotonic();
            queue.push(job(n)?).await?;
            let started = started
                .recv()
                .await
                .ok_or(BenchError::Broken("no job starts"))?;
            waits.push(started.saturating_sub(pushed));
        }
        Ok(waits)
    };
    let mut waits = with_worker(queue, execute, work).await?;
    waits.sort_unstable();
    Ok(waits)
}

/// Pushes jobs by [`PUSHERS`] tasks, as fast as the gate lets.
///
/// # Errors
/// [`BenchError::Push`].
pub async fn push_all(queue: Arc<dyn Queue>, jobs: Vec<Job>) -> Result<(), BenchError> {
    let mut lots: Vec<Vec<Job>> = (0..PUSHERS).map(|_| Vec::new()).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        lots[n % PUSHERS].push(job);
    }
    let mut pushers = JoinSet::new();
    for lot in lots {
        let queue = Arc::clone(&queue);
        pushers.spawn(async move {
            for job in lot {
                push(&*queue, job).await?;
            }
            Ok(())
        });
    }
    joined(pushers).await
}

async fn push(queue: &dyn Queue, job: Job) -> Result<(), BenchError> {
    loop {
        match queue.push(job.clone()).await {
            Ok(()) => return Ok(()),
            Err(PushError::Full { .. }) => tokio::time::sleep(FULL).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Bare jobs a second, from the first push to the last start, pushed as fast as the gate lets.
///
/// # Errors
/// [`BenchError`].
pub async fn bare_rate(queue: &RedisQueue, jobs: usize) -> Result<f64, BenchError> {
    let ran = AtomicUsize::new(0);
    let (tell, mut all) = mpsc::channel(1);
    let execute = Execute::new(move |_| {
        if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            // Without a listener the measurement has ended.
            tell.try_send(()).unwrap_or(());
        }
        std::future::ready(()).boxed()
    });
    let began = SystemClock.monotonic();
    let work = async {
        let mut pushers = JoinSet::new();
        for first in 0..PUSHERS {
            let queue = queue.clone();
            pushers.spawn(async move {
                for n in (first..jobs).step_by(PUSHERS) {
                    push(&queue, job(n)?).await?;
                }
                Ok(())
            });
        }
        joined(pushers).await?;
        all.recv()
            .await
            .ok_or(BenchError::Broken("not every job started"))?;
        Ok(SystemClock.monotonic().saturating_sub(began))
    };
    Ok(per_second(jobs, with_worker(queue, execute, work).await?))
}

/// Plain LPUSH and RPOP by as many tasks as push jobs, over one connection each way.
///
/// # Errors
/// [`BenchError::Redis`].
pub async fn raw_rate(url: &str, jobs: usize) -> Result<f64, BenchError> {
    let [producing, consuming] = [connection(url).await?, connection(url).await?];
    let payload = vec![b'x'; RAW_BYTES];
    let began = SystemClock.monotonic();
    let mut tasks = JoinSet::new();
    for _ in 0..PUSHERS {
        let (mut connection, payload) = (producing.clone(), payload.clone());
        tasks.spawn(async move {
            for _ in 0..jobs / PUSHERS {
                let push = redis::cmd("LPUSH").arg("raw").arg(&payload).to_owned();
                push.exec_async(&mut connection).await?;
            }
            Ok(())
        });
        let mut connection = consuming.clone();
        tasks.spawn(async move {
            let mut left = jobs / PUSHERS;
            while left > 0 {
                let pop = redis::cmd("RPOP").arg("raw").to_owned();
                let popped: Option<Vec<u8>> = pop.query_async(&mut connection).await?;
                left -= usize::from(popped.is_some());
            }
            Ok(())
        });
    }
    joined(tasks).await?;
    let took = SystemClock.monotonic().saturating_sub(began);
    Ok(per_second(jobs / PUSHERS * PUSHERS, took))
}

/// Bytes that the server uses, once what is finished was collected.
///
/// # Errors
/// [`BenchError`].
pub async fn settled_memory(queue: &RedisQueue, url: &str) -> Result<i64, BenchError> {
    let idle = Execute::new(|_| std::future::ready(()).boxed());
    let settle = async {
        tokio::time::sleep(SETTLE).await;
        Ok(())
    };
    with_worker(queue, idle, settle).await?;
    let mut connection = connection(url).await?;
    redis::cmd("MEMORY")
        .arg("PURGE")
        .exec_async(&mut connection)
        .await?;
    let info: String = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut connection)
        .await?;
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.and_then(|text| text.trim().parse().ok())
        .ok_or(BenchError::Broken("the server does not tell its memory"))
}

/// How many keys the server holds.
///
/// # Errors
/// [`BenchError::Redis`].
pub async fn keys(url: &str) -> Result<u64, BenchError> {
    Ok(redis::cmd("DBSIZE")
        .query_async(&mut connection(url).await?)
        .await?)
}

/// Jobs per second.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn per_second(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64().max(f64::EPSILON)
}

async fn connection(url: &str) -> Result<MultiplexedConnection, RedisError> {
    redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await
}

async fn joined(mut tasks: JoinSet<Result<(), BenchError>>) -> Result<(), BenchError> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| BenchError::Broken("a task panicked"))??;
    }
    Ok(())
}
