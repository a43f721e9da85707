//! `latchkey bench refresh`: how fast due grants are refreshed, beside a bare loop that makes the same token
//! requests; and how fast due grants are found and claimed in a store that holds many.

mod large;
mod place;
mod raw;
mod seeding;
mod usage;

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use clap::Args;
use latchkey_domain::{Clock, SystemClock, SystemEntropy, Timestamp};
use latchkey_runtime::{Config, Context, DataDir, Stopper};
use latchkey_sandbox::SeededGrant;
use latchkey_store::bench::grants;
use serde_json::{Map, Value};

use self::place::{Place, Tuning};
use crate::{
    bench::{Bar, Report, fleet::Fleet},
    demo::numbers::{Counters, Metrics, REFRESHED, REFRESHES},
    output::note,
    settings,
};

const EXAMPLES: &str = "\
Examples:
  latchkey bench refresh --grants 20000 --latency-ms 0 --json           SQLite, one process
  latchkey bench refresh --latency-ms 100
  latchkey bench refresh --fleet --workers 1                            private PostgreSQL and Redis
  DATABASE_URL=postgres://… REDIS_URL=redis://… latchkey bench refresh  servers of yours, which must be empty
  latchkey bench refresh --in-store 1000000                             find and claim 500 among a million";

/// The histogram of claim to stored.
const TOOK: &str = "latchkey_refresh_seconds";
/// Between the last seeding and the moment at which all are due: the processes come up in it.
const COMING_UP: Duration = Duration::from_secs(10);
/// When grants are due while they are written: longer than that takes.
const NOT_YET: Duration = Duration::from_secs(3600);
/// How often the workers are asked for their numbers: asking more often costs them a share of the machine.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for all to be refreshed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measure refreshes: due grants to fresh tokens in the store, beside a bare loop of the same requests
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Grants that are due at once
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    grants: usize,
    /// What the token endpoint takes, in milliseconds
    #[arg(long, value_name = "L", default_value_t = 0)]
    latency_ms: u64,
    /// Worker processes; the embedded engine has one
    #[arg(long, value_name = "W", default_value_t = 1)]
    workers: usize,
    /// On PostgreSQL and Redis, private ones unless the environment names servers
    #[arg(long)]
    fleet: bool,
    /// Token requests at once in a worker (`refresh.concurrency`) [default: 1024]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Measure instead how fast 500 due grants are found and claimed in a store with this many
    #[arg(long, value_name = "N")]
    in_store: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: settings::Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[])?;
    let fleet = if arguments.fleet || config.is_fleet() {
        Some(Fleet::find(&config).await?)
    } else {
        ensure!(
            arguments.workers == 1,
            "the embedded engine has one worker: use --fleet for more"
        );
        None
    };
    let engine = if fleet.is_some() { "fleet" } else { "embedded" };
    let mut report = Report::begin("refresh");
    report.fact("engine", engine);
    if let Some(held) = arguments.in_store {
        large::measure(held, fleet.as_ref(), &mut report).await?;
    } else {
        refresh(&arguments, fleet.as_ref(), &mut report).await?;
    }
    report.print(arguments.json)
}

/// Token requests at once in a worker: as many as keep the machine busy while two groups of writes wait for the disk.
const CONCURRENCY: usize = 1024;

fn tuning(arguments: &Arguments) -> Tuning {
    Tuning {
        concurrency: arguments.concurrency.unwrap_or(CONCURRENCY),
        batch: 100,
    }
}

async fn refresh(
    arguments: &Arguments,
    fleet: Option<&Fleet>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (tuning, grants) = (tuning(arguments), arguments.grants);
    let mut place = Place::raise(arguments.latency_ms, tuning, fleet).await?;
    let url = place.sandbox.url.clone();
    let http = place.http.clone();
    let at_once = tuning.concurrency * arguments.workers;
    note("The bare loop …");
    let bare = seeding::at_sandbox(&http, &url, grants).await?;
    let before = raw::per_second(&url, &bare, at_once).await?;
    note("Making grants …");
    let seeded = seeding::at_sandbox(&http, &url, grants).await?;
    let due = seed(&place, &seeded).await?;
    raise_servers(&mut place, arguments.workers, fleet.is_some()).await?;
    let counted = place.sandbox.counters().await?;
    let run = watch(&mut place, grants, due).await?;
    let counters = place.sandbox.counters().await?;
    note("The bare loop again …");
    let bare = seeding::at_sandbox(&http, &url, grants).await?;
    let after = raw::per_second(&url, &bare, at_once).await?;
    place.strike().await;
    report.fact("grants", grants);
    report.fact("latency_ms", arguments.latency_ms);
    report.fact("workers", arguments.workers);
    report.fact("concurrency", tuning.concurrency);
    report.fact("raw_before_and_after", vec![before.round(), after.round()]);
    let case = Case {
        fleet: fleet.is_some(),
        latency_ms: arguments.latency_ms,
    };
    case.tell(
        &run,
        f64::midpoint(before, after),
        &counted,
        &counters,
        report,
    );
    Ok(())
}

/// Writes the grants with the server's own code, in this process; when they will be due.
async fn seed(place: &Place, seeded: &[SeededGrant]) -> anyhow::Result<Timestamp> {
    let config = Config::load(
        Some(&place.settings()),
        &[("data_dir", place.data().display().to_string())],
    )?;
    let lock = if config.is_fleet() {
        DataDir::share(&config.data_dir)?
    } else {
        DataDir::lock(&config.data_dir)?
    };
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let ctx = Context::open(config, clock, entropy, Stopper::new()).await?;
    let owner = seeding::owner(&ctx, &place.sandbox.url).await?;
    seeding::store(&ctx, owner, seeded, ctx.store.db_now().await? + NOT_YET).await?;
    let due = ctx.store.db_now().await? + COMING_UP;
    grants::make_all_due(&ctx.store, due).await?;
    ctx.store.close().await;
    drop(lock);
    Ok(due)
}

async fn raise_servers(place: &mut Place, workers: usize, fleet: bool) -> anyhow::Result<()> {
    if !fleet {
        return place.serve("data", &[]).await;
    }
    place.serve("scheduler", &["scheduler"]).await?;
    for n in 0..workers {
        place.serve(&format!("worker-{n}"), &["worker"]).await?;
    }
    Ok(())
}

/// What was seen while the grants were refreshed.
struct Run {
    refreshed: u64,
    seconds: f64,
    /// CPU seconds by whose they are.
    cpu: [(&'static str, f64); 3],
    peak_rss_mb: f64,
    missed: u64,
    metrics: Vec<Metrics>,
}

/// Waits until all are refreshed.
async fn watch(place: &mut Place, grants: usize, due: Timestamp) -> anyhow::Result<Run> {
    let left = SystemClock.now().until(due);
    ensure!(
        !left.is_zero(),
        "the processes came up too late: try fewer grants"
    );
    tokio::time::sleep(left.saturating_sub(Duration::from_millis(200))).await;
    let cpu_before = cpu(place);
    note("Refreshing …");
    tokio::time::sleep(SystemClock.now().until(due)).await;
    let begun = SystemClock.monotonic();
    let wanted = u64::try_from(grants).unwrap_or(u64::MAX);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let metrics = place.metrics().await?;
        let sum =
            |name: &str, labels: &[&str]| metrics.iter().map(|m| m.sum(name, labels)).sum::<u64>();
        let refreshed = sum(REFRESHES, REFRESHED);
        let took = SystemClock.monotonic().saturating_sub(begun);
        if refreshed >= wanted || took > PATIENCE {
            let peaks = place.ids().into_iter().filter_map(usage::peak_rss_mb);
            return Ok(Run {
                refreshed,
                seconds: took.as_secs_f64(),
                cpu: since(cpu(place), cpu_before),
                peak_rss_mb: peaks.fold(0.0, f64::max),
                missed: sum("latchkey_refresh_missed_total", &[]),
                metrics,
            });
        }
    }
}

/// CPU seconds of our processes, and of a private PostgreSQL and Redis.
fn cpu(place: &Place) -> [(&'static str, f64); 3] {
    let ours: f64 = place.ids().into_iter().filter_map(usage::cpu_seconds).sum();
    let me = std::process::id();
    [
        ("latchkey", ours),
        ("postgres", usage::cpu_seconds_below(me, "postgres")),
        ("redis", usage::cpu_seconds_below(me, "redis-server")),
    ]
}

fn since(
    now: [(&'static str, f64); 3],
    before: [(&'static str, f64); 3],
) -> [(&'static str, f64); 3] {
    let mut used = now;
    for (used, before) in used.iter_mut().zip(before) {
        used.1 -= before.1;
    }
    used
}

/// Which bars apply.
#[derive(Clone, Copy, Debug)]
struct Case {
    fleet: bool,
    latency_ms: u64,
}

impl Case {
    fn tell(self, run: &Run, raw: f64, before: &Counters, after: &Counters, report: &mut Report) {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let refreshed = run.refreshed as f64;
        let rate = refreshed / run.seconds.max(f64::EPSILON);
        report.fact("refreshed", run.refreshed);
        report.figure("seconds", run.seconds, "s until all were refreshed");
        let (per_second, ratio) = match (self.latency_ms, self.fleet) {
            (0, fleet) => (None, Some(if fleet { 0.1 } else { 0.15 })),
            (100, fleet) => (Some(if fleet { 2500.0 } else { 4000.0 }), None),
            _ => (None, None),
        };
        add(
            report,
            "per_second",
            rate,
            per_second,
            "refreshes a second, stored",
        );
        report.figure(
            "raw_per_second",
            raw,
            "token requests a second by the bare loop, mean of before and after",
        );
        add(report, "ratio", rate / raw, ratio, "of the bare rate");
        let per_1000 = |seconds: f64| seconds * 1000.0 / refreshed.max(1.0);
        let each = run
            .cpu
            .map(|(whose, used)| (whose.to_owned(), Value::from(per_1000(used))));
        let per_1000 = per_1000(run.cpu.iter().map(|(_, used)| used).sum());
        let meaning = "CPU seconds per 1,000 refreshes: ours, and private PostgreSQL and Redis";
        if self.fleet {
            report.measured("cpu_s_per_1000", per_1000, Bar::AtMost(0.4), meaning);
            report.fact("cpu_s_per_1000_of", Map::from_iter(each));
        } else {
            report.figure("cpu_s_per_1000", per_1000, meaning);
        }
        let at = |part: f64| percentile(&run.metrics, part) * 1000.0;
        report.figure(
            "claim_to_stored_p50_ms",
            at(0.5),
            "ms from claim to stored, the median (between buckets)",
        );
        report.figure("claim_to_stored_p99_ms", at(0.99), "ms, the 99th of 100");
        report.measured(
            "peak_rss_mb",
            run.peak_rss_mb,
            Bar::AtMost(150.0),
            "MB, the largest of our processes",
        );
        report.fact("reuse", after.since(before, "refresh_reuse"));
        report.fact("overlap", after.since(before, "refresh_overlap"));
        report.fact("misses", run.missed);
    }
}

fn add(report: &mut Report, name: &'static str, value: f64, bar: Option<f64>, meaning: &str) {
    match bar {
        Some(bar) => report.measured(name, value, Bar::AtLeast(bar), meaning),
        None => report.figure(name, value, meaning),
    }
}

/// A percentile of claim to stored over all workers, in seconds: straight between the buckets' bounds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn percentile(workers: &[Metrics], part: f64) -> f64 {
    let mut bounds: Vec<(f64, u64)> = Vec::new();
    for metrics in workers {
        for (at, (bound, count)) in metrics.buckets(TOOK).into_iter().enumerate() {
            match bounds.get_mut(at) {
                Some(sum) => sum.1 += count,
                None => bounds.push((bound, count)),
            }
        }
    }
    let wanted = part * bounds.last().map_or(0, |last| last.1) as f64;
    let mut below = (0.0, 0);
    for (bound, count) in bounds {
        if count as f64 >= wanted && count > below.1 {
            let share = (wanted - below.1 as f64) / (count - below.1) as f64;
            return below.0 + (bound - below.0) * share.clamp(0.0, 1.0);
        }
        below = (bound, count);
    }
    below.0
}
