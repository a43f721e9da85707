//! How fast the fleet's queue is, as one JSON object: `queue_rate redis://… [jobs]`. For an empty server of
//! its own: it measures the server's memory, and leaves nothing behind but its counters.
//!
//! Bare jobs: a handler that does nothing, one worker process, as many slots as the default settings give.

#![expect(
    clippy::unwrap_used,
    reason = "a tool for developers: a failure is a panic"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use latchkey_domain::{Clock, JobId, PartnerId, SessionId, SystemClock, Timestamp};
use latchkey_jobs::{
    Execute, Job, Queue, Redis, RedisQueue, RunOptions, Urgency, kinds::ExchangeCode,
};
use redis::aio::MultiplexedConnection;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Jobs at work at once: the default of `worker.interactive`.
const CONCURRENCY: usize = 256;
/// Tasks that push.
const PUSHERS: usize = 64;
/// Jobs of the latency figure, and the pause between two of them.
const PACED: usize = 500;
const PACE: Duration = Duration::from_millis(20);
/// Jobs of the throughput and memory figures, unless the command line says otherwise.
const JOBS: usize = 500_000;

fn job(n: usize) -> Job {
    let kind = ExchangeCode {
        session: SessionId::from_u128(n as u128),
    };
    let (id, partner) = (JobId::from_u128(n as u128), PartnerId::from_u128(1));
    Job::new(id, partner, &kind, Timestamp::from_secs(1)).unwrap()
}

/// Runs a worker around some work.
async fn with_worker<T>(queue: &RedisQueue, execute: Execute, work: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let options = RunOptions {
        name: format!("rate-{}", SystemClock.now().as_micros()),
        concurrency: CONCURRENCY,
    };
    let run = tokio::spawn(queue.run(Urgency::Interactive, options, execute, stop.clone()));
    let done = work.await;
    stop.cancel();
    run.await.unwrap().unwrap();
    done
}

/// Push to start at 50 jobs a second, sorted, in milliseconds.
async fn latency(queue: &RedisQueue) -> Vec<f64> {
    let (tell, mut started) = mpsc::unbounded_channel();
    let execute = Execute::new(move |_| {
        let tell = tell.clone();
        async move { tell.send(SystemClock.monotonic()).unwrap() }.boxed()
    });
    let work = async {
        let (mut pace, mut waits) = (tokio::time::interval(PACE), Vec::new());
        for n in 0..PACED {
            pace.tick().await;
            let pushed = SystemClock.monotonic();
            queue.push(job(n)).await.unwrap();
            let started = started.recv().await.unwrap();
            waits.push(started.saturating_sub(pushed).as_secs_f64() * 1000.0);
        }
        waits
    };
    let mut waits = with_worker(queue, execute, work).await;
    waits.sort_unstable_by(f64::total_cmp);
    waits
}

/// Bare jobs a second, from the first push to the last start, pushing as fast as the gate lets.
async fn rate(queue: &RedisQueue, jobs: usize) -> f64 {
    let ran = Arc::new(AtomicUsize::new(0));
    let (tell, mut all) = mpsc::channel(1);
    let execute = Execute::new(move |_| {
        if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            tell.try_send(()).unwrap();
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
                    while queue.push(job(n)).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            });
        }
        pushers.join_all().await;
        all.recv().await.unwrap();
        SystemClock.monotonic().saturating_sub(began)
    };
    per_second(jobs, with_worker(queue, execute, work).await)
}

/// Plain LPUSH and RPOP at the same concurrency over one connection each.
async fn raw(url: &str, jobs: usize) -> f64 {
    let client = redis::Client::open(url).unwrap();
    let [producing, consuming] = [connection(&client).await, connection(&client).await];
    let payload = vec![b'x'; 400];
    let began = SystemClock.monotonic();
    let mut tasks = JoinSet::new();
    for _ in 0..PUSHERS {
        let (mut connection, payload) = (producing.clone(), payload.clone());
        tasks.spawn(async move {
            for _ in 0..jobs / PUSHERS {
                let push = redis::cmd("LPUSH").arg("raw").arg(&payload).to_owned();
                push.exec_async(&mut connection).await.unwrap();
            }
        });
        let mut connection = consuming.clone();
        tasks.spawn(async move {
            let mut left = jobs / PUSHERS;
            while left > 0 {
                let pop = redis::cmd("RPOP").arg("raw").to_owned();
                let popped: Option<Vec<u8>> = pop.query_async(&mut connection).await.unwrap();
                left -= usize::from(popped.is_some());
            }
        });
    }
    tasks.join_all().await;
    per_second(jobs, SystemClock.monotonic().saturating_sub(began))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

async fn connection(client: &redis::Client) -> MultiplexedConnection {
    client.get_multiplexed_async_connection().await.unwrap()
}

/// Bytes that the server uses, once it has collected what is finished.
async fn memory(url: &str) -> i64 {
    let mut connection = connection(&redis::Client::open(url).unwrap()).await;
    redis::cmd("MEMORY")
        .arg("PURGE")
        .exec_async(&mut connection)
        .await
        .unwrap();
    let info: String = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut connection)
        .await
        .unwrap();
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures")]
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the address of an empty Redis");
    let jobs = arguments.next().map_or(JOBS, |text| text.parse().unwrap());
    let queue = RedisQueue::new(Redis::open(&url, "rate").await.unwrap());
    let waits = latency(&queue).await;
    rate(&queue, jobs / 10).await;
    // Long enough for the collector to come round.
    let settled = async || {
        let idle = Execute::new(|_| std::future::ready(()).boxed());
        with_worker(&queue, idle, tokio::time::sleep(Duration::from_secs(1))).await;
        memory(&url).await
    };
    let before = settled().await;
    let rate = rate(&queue, jobs).await;
    let grown = settled().await - before;
    let raw = raw(&url, jobs).await;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let figures = serde_json::json!({
        "push_to_start_p50_ms": waits[waits.len() / 2],
        "push_to_start_p99_ms": waits[waits.len() * 99 / 100],
        "jobs": jobs,
        "jobs_per_second": rate.round(),
        "raw_per_second": raw.round(),
        "ratio": rate / raw,
        "redis_bytes_per_finished_job": grown as f64 / jobs as f64,
        "load": load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
    });
    println!("{figures:#}");
}
