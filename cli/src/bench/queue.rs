//! `latchkey bench queue`: the fleet's queue.

use std::time::Duration;

use clap::Args;
use latchkey_jobs::{Redis, RedisQueue, bench as queue, redis::NAMESPACE};

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

/// Measure the fleet's queue: pick-up, throughput, and what it leaves in Redis
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Jobs of the throughput and memory figures
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    jobs: usize,
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

fn milliseconds(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_job(bytes: i64, jobs: usize) -> f64 {
    bytes as f64 / jobs as f64
}
