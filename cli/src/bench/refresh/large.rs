//! A store that holds many grants: how long it takes to find, mark, read and claim those that are due.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{GrantId, SystemClock, SystemEntropy};
use latchkey_runtime::{Config, Context, DataDir, Stopper};
use latchkey_store::bench::grants;
use url::Url;

use super::{
    place::{Place, Tuning},
    seeding,
};
use crate::{
    bench::{Bar, Report, fleet::Fleet},
    output::note,
};

/// Grants that are due in each round.
const DUE: u32 = 500;
/// Rounds before anything is measured: connections know the schema and their statements, as they do in a process that
/// has run for a while.
const WARM_UP: usize = 16;
/// Rounds that are measured.
const ROUNDS: usize = 200;
/// Bytes of a sealed token set, as the sandbox's are.
const SEALED: usize = 600;
/// Grants made at once.
const AT_ONCE: usize = 10_000;

/// What of a round took how long.
type Step = fn(&grants::Round) -> Duration;

/// Fills a store with this many grants and measures.
pub(super) async fn measure(
    held: usize,
    fleet: Option<&Fleet>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let tuning = Tuning {
        concurrency: 64,
        batch: 50,
    };
    let place = Place::raise(0, tuning, fleet).await?;
    let config = Config::load(
        Some(&place.settings()),
        &[("data_dir", place.data().display().to_string())],
    )?;
    let _lock = DataDir::share(&config.data_dir)?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let ctx = Context::open(config, clock, entropy, Stopper::new()).await?;
    note("Filling the store …");
    let nowhere: Url = "http://127.0.0.1:1".parse()?;
    let owner = seeding::owner(&ctx, &nowhere).await?;
    let far = ctx.now() + Duration::from_secs(30 * 24 * 3600);
    let mut made = 0;
    while made < held {
        let part = AT_ONCE.min(held - made);
        let new: Vec<_> = (0..part)
            .map(|_| {
                let id = GrantId::new(ctx.now(), &*ctx.entropy);
                seeding::of(&ctx, owner, id, vec![7; SEALED], far)
            })
            .collect();
        grants::insert(&ctx.store, &new).await?;
        made += part;
    }
    note("Finding and claiming 500, two hundred times …");
    let all = WARM_UP + ROUNDS;
    let mut rounds =
        grants::dispatch_and_claim(&ctx.store, all, DUE, &SystemClock, &SystemEntropy).await?;
    rounds.drain(..WARM_UP);
    ctx.store.close().await;
    place.strike().await;
    report.fact("in_store", held);
    report.fact("due", DUE);
    let steps: [(&'static str, &'static str, Step); 4] = [
        ("dispatch_p50_ms", "dispatch_p99_ms", |r| r.dispatch),
        ("load_p50_ms", "load_p99_ms", |r| r.load),
        ("claim_p50_ms", "claim_p99_ms", |r| r.claim),
        (
            "dispatch_and_claim_p50_ms",
            "dispatch_and_claim_p99_ms",
            |r| r.dispatch + r.claim,
        ),
    ];
    for (middle, worst, step) in steps {
        let mut all: Vec<f64> = rounds
            .iter()
            .map(|r| step(r).as_secs_f64() * 1000.0)
            .collect();
        all.sort_by(f64::total_cmp);
        // The nearest rank: of 200 the 198th is the 99th of 100.
        let at = |percent: usize| all[(all.len() * percent).div_ceil(100).saturating_sub(1)];
        report.figure(middle, at(50), "ms for all 500, the median");
        if worst == "dispatch_and_claim_p99_ms" {
            report.measured(
                worst,
                at(99),
                Bar::AtMost(15.0),
                "ms for all 500, the 99th of 100",
            );
        } else {
            report.figure(worst, at(99), "ms for all 500, the 99th of 100");
        }
    }
    Ok(())
}
