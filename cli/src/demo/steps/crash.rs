//! `kill -9` while the provider has acted on refreshes and their answers are still on the way, then a new
//! start. Nothing may be left in between: each grant is `active`, or the one whose answer died says so.

use std::time::Duration;

use latchkey_domain::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{
    connect::Account,
    fleet::{self, Counts, LIFE},
    text, time,
};
use crate::demo::{numbers::Counters, partner::Partner, report::Report, stage::Stage};

/// How long the sandbox keeps an answer back after acting, so that answers are surely on the way at the kill.
const LATENCY_MS: u64 = 700;
/// Refreshes acted on within that time before the kill.
const IN_FLIGHT: u64 = 10;
/// How long until each grant is settled: the shortened time-outs, and the lives of the tokens.
const PATIENCE: Duration = Duration::from_secs(45);
/// Why a grant may need its user again after this.
const REASON: &str = "rotation_outcome_unknown";

/// Kills, starts, and waits until every grant is settled; gives an account whose grant lives.
pub(super) async fn crash(
    stage: &mut Stage,
    report: &mut Report,
    partner: &Partner,
    fleet: &[Account],
) -> anyhow::Result<String> {
    let before = kill(stage, report, partner, fleet).await?;
    let started = start(stage, report).await?;

    let mut step = report.step("until every grant is settled");
    let settled = settle(partner, fleet, started).await?;
    let (active, dead, other) = count(&settled, started);
    step.equal("neither active nor dead with that reason", 0, other);
    step.holds("some answers died with the process", dead > 0, dead);
    // Each lost rotation was presented once more, which is how it was found out.
    let now = Counts::read(stage).await?;
    step.both(
        "rotations lost",
        now.theirs.since(&before, "refresh_reuse"),
        dead,
    );
    let counted = now.ours.sum("latchkey_needs_reauth_total", &[REASON]);
    step.equal(&format!("needs_reauth({REASON})"), dead, counted);
    step.equal(
        "refresh_overlap",
        0,
        now.theirs.since(&before, "refresh_overlap"),
    );
    report.end(step, format!("{active} active, {dead} needs_reauth"))?;

    let mut step = report.step("tokens live for an hour again, and all is calm");
    let now = fleet::calm(stage, partner, fleet, None).await?;
    let alive = now.theirs.get("grants_alive");
    // Ada's is one more.
    step.both("living grants", alive, active + 1);
    step.equal("in doubt", 0, now.ours.sum("latchkey_grants_in_doubt", &[]));
    report.end(step, format!("{alive} grants live at the provider"))?;
    let living = fleet
        .iter()
        .zip(&settled)
        .find(|(_, one)| one["status"] == "active");
    Ok(living
        .map(|(account, _)| account.external.clone())
        .unwrap_or_default())
}

/// Kills the server while answers are on the way; gives the sandbox's counters from before.
async fn kill(
    stage: &mut Stage,
    report: &mut Report,
    partner: &Partner,
    fleet: &[Account],
) -> anyhow::Result<Counters> {
    let sandbox = stage.sandbox()?.clone();
    let step = report.step(format!(
        "{LIFE}-second tokens for all, by POST …/integrations/sandbox/refresh"
    ));
    let calm = sandbox.counters().await?;
    sandbox.set(json!({ "access_lifetime_s": LIFE })).await?;
    fleet::refresh_all(partner, fleet).await?;
    let all = calm.get("token_refresh") + fleet.len() as u64;
    sandbox.wait("token_refresh", all).await?;
    report.end(step, format!("{} refreshed", fleet.len()))?;

    let mut step = report.step(format!("kill -9 {}", stage.server_id().unwrap_or_default()));
    sandbox
        .set(json!({ "token_latency_ms": LATENCY_MS }))
        .await?;
    let before = sandbox.counters().await?;
    let seen = sandbox
        .wait("token_refresh", before.get("token_refresh") + IN_FLIGHT)
        .await?;
    stage.kill_server().await?;
    sandbox.set(json!({ "token_latency_ms": 0 })).await?;
    let on_the_way = seen - before.get("token_refresh");
    step.holds(
        "refreshes acted on, answers on the way",
        on_the_way >= IN_FLIGHT,
        on_the_way,
    );
    report.end(step, "gone, with answers on the way to it")?;
    Ok(before)
}

/// Starts the server again; gives when.
async fn start(stage: &mut Stage, report: &mut Report) -> anyhow::Result<Timestamp> {
    let mut step = report.step("latchkey serve, on the same directory");
    let began = SystemClock.monotonic();
    let started = SystemClock.now();
    stage.restart_server().await?;
    step.took(SystemClock.monotonic().saturating_sub(began));
    let id = stage.server_id().unwrap_or_default();
    report.end(step, format!("process {id}; the journal is replayed first"))?;
    Ok(started)
}

/// Waits until no grant is in between, or the patience is over; gives the integrations then.
async fn settle(
    partner: &Partner,
    fleet: &[Account],
    started: Timestamp,
) -> anyhow::Result<Vec<Value>> {
    let deadline = SystemClock.monotonic() + PATIENCE;
    loop {
        let all = fleet::integrations(partner, fleet).await?;
        let (_, _, other) = count(&all, started);
        if other == 0 || SystemClock.monotonic() > deadline {
            return Ok(all);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// How many are active with a token from after the start, how many are dead with the reason, and the rest.
fn count(all: &[Value], started: Timestamp) -> (u64, u64, u64) {
    let mut counts = (0, 0, 0);
    for one in all {
        let refreshed = time(&one["last_refreshed_at"]).is_some_and(|at| at > started);
        match (text(&one["status"]).as_str(), text(&one["reason"]).as_str()) {
            ("active", _) if refreshed => counts.0 += 1,
            ("needs_reauth", REASON) => counts.1 += 1,
            _ => counts.2 += 1,
        }
    }
    counts
}
