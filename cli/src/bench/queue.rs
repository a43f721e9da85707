//! `latchkey bench queue`: the fleet's queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Args;
use futures::{FutureExt, StreamExt, stream};
use latchkey_domain::{Clock, PartnerId, SystemClock};
use latchkey_jobs::{Execute, Redis, RedisQueue, bench as queue, redis::NAMESPACE};
use latchkey_runtime::{Config, Context};
use tokio::sync::mpsc;

use crate::{
    bench::{Bar, Report, fleet::Fleet},
    output::note,
    settings::Place,
};

const EXAMPLES: &str = "\
Examples:
  latchkey bench queue
  latchkey bench queue --json --jobs 100000
  DATABASE_URL=postgres://… REDIS_URL=redis://… latchkey bench queue      on servers of yours, which must be empty";

/// Pushes of the latency figure, 50 a second.
const PACED: usize = 500;
/// Callers that insert rows at once: enough to fill groups while one commits.
const INSERTERS: usize = 1000;

/// Measure the fleet's queue: pick-up, throughput, and what it leaves in Redis
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Jobs of the throughput and memory figures
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    jobs: usize,
    /// Jobs with a row of the row figure
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    row_jobs: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[])?;
    let fleet = Fleet::find(&config).await?;
    let mut report = Report::begin("queue");
    report.fact("jobs", arguments.jobs);
    report.fact("servers", fleet.kind());
    bare(&fleet, arguments.jobs, &mut report).await?;
    rows(&fleet, &config, arguments.row_jobs, &mut report).await?;
    report.print(arguments.json)
}

/// Bare entries: pick-up, rate, memory, and plain Redis beside them.
async fn bare(fleet: &Fleet, jobs: usize, report: &mut Report) -> anyhow::Result<()> {
    let url = fleet.redis_url();
    let bare = RedisQueue::new(Redis::open(url, NAMESPACE).await?);
    note("Push to start, 50 jobs a second …");
    let waits = queue::push_to_start(&bare, PACED).await?;
    let at = |part: usize| milliseconds(waits[waits.len() * part / 100]);
    report.measured(
        "push_to_start_p50_ms",
        at(50),
        Bar::AtMost(3.0),
        "ms from push to start at 50 jobs/s, the median",
    );
    report.figure("push_to_start_p99_ms", at(99), "ms, the 99th of 100");
    note("Bare jobs …");
    // The first ones grow the server's tables.
    queue::bare_rate(&bare, jobs / 10 + 1).await?;
    let before = queue::settled_memory(&bare, url).await?;
    let rate = queue::bare_rate(&bare, jobs).await?;
    let grown = queue::settled_memory(&bare, url).await? - before;
    note("Plain Redis at the same concurrency …");
    let raw = queue::raw_rate(url, jobs).await?;
    report.measured(
        "jobs_per_second",
        rate,
        Bar::AtLeast(10_000.0),
        "bare jobs a second, 1 worker process",
    );
    report.figure("raw_per_second", raw, "plain LPUSH and RPOP a second");
    report.figure("ratio", rate / raw, "of the plain rate");
    report.measured(
        "redis_bytes_per_finished_job",
        per_job(grown, jobs),
        Bar::AtMost(1.0),
        "bytes that a finished job leaves in Redis",
    );
    Ok(())
}

/// Jobs with a row: a worker claims it, does nothing, and completes it.
async fn rows(
    fleet: &Fleet,
    config: &Config,
    jobs: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    note("Jobs with a row …");
    let dir = tempfile::tempdir()?;
    let context = fleet.context(config, dir.path()).await?;
    let execute = latchkey_worker::bench::execute(context.clone()).await?;
    // The first ones fill caches and prepare statements.
    let mut timed = None;
    for jobs in [jobs / 10 + 1, jobs] {
        timed = Some(run_rows(&context, execute.clone(), jobs).await?);
    }
    let commits = context.store.commit_stats();
    context.store.close().await;
    let Some((inserted, ran)) = timed else {
        return Ok(());
    };
    report.measured(
        "row_jobs_per_second",
        queue::per_second(jobs, ran),
        Bar::AtLeast(5_000.0),
        "jobs a second that claim and complete their row, from the first push to the last end",
    );
    report.figure(
        "row_inserts_per_second",
        queue::per_second(jobs, inserted),
        "rows of such jobs inserted a second, before that",
    );
    report.fact("row_jobs", jobs);
    report.fact("commits", commits.commits);
    report.fact("writes", commits.writes);
    Ok(())
}

/// Inserts jobs, then pushes and runs them; how long either took.
async fn run_rows(
    context: &Context,
    execute: Execute,
    jobs: usize,
) -> anyhow::Result<(Duration, Duration)> {
    let made: Result<Vec<_>, _> = (0..jobs)
        .map(|_| latchkey_worker::bench::job(context, PartnerId::OPERATOR))
        .collect();
    let (rows, pushes): (Vec<_>, Vec<_>) = made?.into_iter().unzip();
    let began = SystemClock.monotonic();
    let mut inserts = stream::iter(rows)
        .map(|row| context.store.insert_job(row))
        .buffer_unordered(INSERTERS);
    while let Some(inserted) = inserts.next().await {
        anyhow::ensure!(inserted?, "a job was there already");
    }
    let inserted = SystemClock.monotonic().saturating_sub(began);
    let (tell, mut all) = mpsc::channel(1);
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Execute::new(move |job| {
        let (run, tell, ended) = (execute.run(job), tell.clone(), Arc::clone(&ended));
        async move {
            run.await;
            if ended.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                // Without a listener the measurement has ended.
                tell.try_send(()).unwrap_or(());
            }
        }
        .boxed()
    });
    let began = SystemClock.monotonic();
    let work = async {
        queue::push_all(Arc::clone(&context.queue), pushes).await?;
        all.recv().await;
        Ok(SystemClock.monotonic().saturating_sub(began))
    };
    let ran = queue::with_worker(&*context.queue, counted, work).await?;
    let left = context.store.count_jobs().await?;
    anyhow::ensure!(left.is_empty(), "jobs are left over: {left:?}");
    Ok((inserted, ran))
}

fn milliseconds(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_job(bytes: i64, jobs: usize) -> f64 {
    bytes as f64 / jobs as f64
}
