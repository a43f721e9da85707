//! `latchkey bench calls`: provider calls through Latchkey, and the same calls straight to the provider.

mod client;
mod cost;
mod platform;

use std::time::Duration;

use clap::{Args, ValueEnum};
use latchkey_domain::{Clock, SystemClock, SystemEntropy};
use latchkey_vault::{ApiKey, Mode};
use serde_json::{Map, Value};
use url::Url;

use self::{
    client::{Met, Shot, fire},
    cost::cpu,
    platform::{ACCOUNT, Platform},
};
use crate::{
    bench::{Bar, Report, fleet::Fleet},
    output::note,
    settings::Place,
};

const EXAMPLES: &str = "\
Examples:
  latchkey bench calls                                  embedded engine, 32 at once
  latchkey bench calls --concurrency 1 --json           what Latchkey adds to one call
  latchkey bench calls --fleet --mode async             1 API, 1 worker, private PostgreSQL and Redis
  DATABASE_URL=postgres://… REDIS_URL=redis://… latchkey bench calls      on servers of yours, which must be empty";

/// Calls before anything is measured: caches are filled, connections stand.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long what was accepted may take to be done, and how often it is looked whether it is.
const DRAIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How the calls are made
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// Each caller waits for the provider's answer
    Wait,
    /// Each is accepted (202); then it is waited until all are done
    Async,
    /// With a key that nobody has
    WrongKey,
}

/// Measure provider calls, beside the same calls straight to the sandbox
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Callers at once
    #[arg(long, value_name = "C", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// How long each part lasts
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How the calls are made
    #[arg(long, value_enum, default_value_t = How::Wait)]
    mode: How,
    /// On PostgreSQL and Redis, private ones unless the settings name others
    #[arg(long)]
    fleet: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[])?;
    let fleet = if arguments.fleet || config.is_fleet() {
        Some(Fleet::find(&config).await?)
    } else {
        None
    };
    let mut report = Report::begin("calls");
    note("Starting the sandbox and Latchkey …");
    let platform = Platform::raise(fleet.as_ref()).await?;
    report.fact("engine", if fleet.is_some() { "fleet" } else { "embedded" });
    report.fact("concurrency", arguments.concurrency);
    let measured = measure(&platform, &arguments, fleet.as_ref(), &mut report).await;
    if let Some(words) = platform.end().await {
        note(&format!("What the processes logged last:{words}"));
    }
    measured?;
    report.print(arguments.json)
}

async fn measure(
    platform: &Platform,
    arguments: &Arguments,
    fleet: Option<&Fleet>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let callers = usize::from(arguments.concurrency);
    let lasting = Duration::from_secs(arguments.seconds);
    let (direct, through) = shots(platform, arguments.mode)?;
    note("Straight to the sandbox …");
    fire(&direct, callers, WARM_UP).await?;
    let straight = fire(&direct, callers, lasting).await?;
    note("Through Latchkey …");
    let made = platform.calls_made().await?;
    let cold = fire(&through, callers, WARM_UP).await?;
    let made = made + cold.answered() as u64;
    if arguments.mode == How::Async {
        drained(platform, made).await?;
    }
    if let Some(fleet) = fleet {
        fleet.settle().await?;
    }
    let before = cpu(&platform.watched);
    let began = SystemClock.monotonic();
    let met = fire(&through, callers, lasting).await?;
    let accepted_in = SystemClock.monotonic().saturating_sub(began);
    let (mut done_in, mut left) = (accepted_in, 0);
    if arguments.mode == How::Async {
        let all = made + met.answered() as u64;
        left = all.saturating_sub(platform.calls_made().await?);
        drained(platform, all).await?;
        done_in = SystemClock.monotonic().saturating_sub(began);
    }
    let used = cpu(&platform.watched).saturating_sub(before);
    let bars = Bars::of(arguments, fleet.is_some());
    tell(report, &bars, &straight, &met, used);
    if arguments.mode == How::Async {
        let rate = per_second(met.answered(), done_in);
        report.figure(
            "drained_per_second",
            rate,
            "calls a second from the first accepted to the last done",
        );
        let rate = per_second(usize::try_from(left)?, done_in.saturating_sub(accepted_in));
        report.figure(
            "drained_after_per_second",
            rate,
            "calls a second once no more are accepted",
        );
    }
    report.fact("errors", met.errors + cold.errors + straight.errors);
    let peaks = platform.watched.iter().filter_map(|one| {
        let peak = one.peak_rss_mb()?;
        Some((one.role.to_owned(), Value::from(peak.round())))
    });
    report.fact("peak_rss_mb", peaks.collect::<Map<_, _>>());
    Ok(())
}

/// The call straight to the sandbox, and the same through Latchkey.
fn shots(platform: &Platform, mode: How) -> anyhow::Result<(Shot, Shot)> {
    let token = format!("Bearer {}", platform.token);
    let direct = platform.sandbox()?.join("/api/me")?;
    let direct = Shot::get(&direct, &[("authorization", &token)], 200)?;
    let url: Url = platform.public().join("/api/v1/sandbox/profile")?;
    let nobody = ApiKey::generate(Mode::Live, &SystemEntropy);
    let key = match mode {
        How::WrongKey => nobody.expose(),
        How::Wait | How::Async => platform.partner.key.as_str(),
    };
    let key = format!("Bearer {key}");
    let mut headers = vec![("authorization", key.as_str()), ("x-account-id", ACCOUNT)];
    let expected = match mode {
        How::Wait => 200,
        How::Async => {
            headers.push(("prefer", "respond-async"));
            202
        }
        How::WrongKey => 401,
    };
    Ok((direct, Shot::get(&url, &headers, expected)?))
}

/// Waits until everything that was accepted is done: by the provider's count, for each look into a long list of jobs is
/// work too, and in the end by Latchkey's own.
async fn drained(platform: &Platform, by: u64) -> anyhow::Result<()> {
    let done = async {
        while platform.calls_made().await? < by {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        while platform.open_jobs().await? > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DRAIN, done).await?
}

/// What a case is measured against.
#[derive(Default)]
struct Bars {
    rate: Option<Bar>,
    ratio: Option<Bar>,
    added: Option<Bar>,
    cpu: Option<Bar>,
}

impl Bars {
    fn of(arguments: &Arguments, is_fleet: bool) -> Self {
        let at = |embedded, fleet| if is_fleet { fleet } else { embedded };
        let none = Self::default();
        match (arguments.mode, arguments.concurrency) {
            (How::Wait, 1) => Self {
                added: Some(Bar::AtMost(at(0.5, 4.0))),
                ..none
            },
            (How::Wait, _) => Self {
                ratio: Some(Bar::AtLeast(at(0.15, 0.05))),
                cpu: Some(Bar::AtMost(at(0.3, 0.8))),
                ..none
            },
            (How::Async, _) => Self {
                rate: is_fleet.then_some(Bar::AtLeast(4000.0)),
                ..none
            },
            (How::WrongKey, _) => Self {
                cpu: Some(Bar::AtMost(0.05)),
                ..none
            },
        }
    }
}

fn tell(report: &mut Report, bars: &Bars, straight: &Met, met: &Met, used: Duration) {
    let mut say = |name, value, bar: Option<Bar>, meaning| match bar {
        Some(bar) => report.measured(name, value, bar, meaning),
        None => report.figure(name, value, meaning),
    };
    let (rate, direct) = (met.per_second(), straight.per_second());
    let (p50, direct_p50) = (met.within(50), straight.within(50));
    say("per_second", rate, bars.rate, "answers a second");
    say(
        "direct_per_second",
        direct,
        None,
        "the same straight to the sandbox",
    );
    say(
        "ratio",
        rate / direct.max(1e-9),
        bars.ratio,
        "of the direct rate",
    );
    say("p50_ms", p50, None, "ms, the median");
    say("p99_ms", met.within(99), None, "ms, the 99th of 100");
    say(
        "direct_p50_ms",
        direct_p50,
        None,
        "ms, the median straight to the sandbox",
    );
    say(
        "added_p50_ms",
        p50 - direct_p50,
        bars.added,
        "ms added to the median",
    );
    // Seconds of 1,000 calls are milliseconds of one.
    let each = per_call_ms(used, met.answered());
    say(
        "cpu_s_per_1000",
        each,
        bars.cpu,
        "s of processor time of Latchkey per 1,000 calls",
    );
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_call_ms(used: Duration, calls: usize) -> f64 {
    used.as_secs_f64() * 1000.0 / calls.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(calls: usize, within: Duration) -> f64 {
    calls as f64 / within.as_secs_f64().max(1e-9)
}
