//! A hundred accounts whose tokens live for five seconds, watched live.

use std::{io::IsTerminal, time::Duration};

use anyhow::Context as _;
use axum::http::Method;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use latchkey_domain::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{calls::LONG_LIFE, connect::Account, text, time};
use crate::demo::{
    numbers::{Counters, Metrics, REFRESHED, REFRESHES},
    partner::Partner,
    report::Report,
    stage::Stage,
};

/// How many accounts.
const ACCOUNTS: usize = 100;
/// Life of their tokens, seconds.
pub(super) const LIFE: u64 = 5;
/// How long they are watched, seconds.
const WATCH: u64 = 15;
/// Browsers, or requests, at once.
const AT_ONCE: usize = 16;
/// Refreshes in one token lifetime, on average: more would be a burden for the provider.
const MOST_PER_LIFE: f64 = 3.0;
/// How long the accounts may take to calm down.
const CALM: Duration = Duration::from_secs(30);

/// The external id of an account.
fn name(n: usize) -> String {
    format!("user-{n:03}")
}

/// Both sides' counts at one moment.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// The sandbox's.
    pub(super) theirs: Counters,
    /// Ours; a new process begins at zero.
    pub(super) ours: Metrics,
}

impl Counts {
    pub(super) async fn read(stage: &Stage) -> anyhow::Result<Self> {
        let (theirs, ours) = (stage.sandbox()?.counters().await?, stage.metrics().await?);
        Ok(Self { theirs, ours })
    }

    /// Refreshes since `before`: the sandbox's count and ours.
    pub(super) fn refreshes(&self, before: &Self) -> (u64, u64) {
        let theirs = self.theirs.since(&before.theirs, "token_refresh");
        (theirs, self.ours.since(&before.ours, REFRESHES, REFRESHED))
    }
}

/// Connects them all, each with a browser of its own.
pub(super) async fn connect(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
) -> anyhow::Result<Vec<Account>> {
    let sandbox = stage.sandbox()?;
    sandbox.set(json!({ "access_lifetime_s": LIFE })).await?;
    let before = sandbox.counters().await?;
    let mut step = report.step(format!(
        "{ACCOUNTS} accounts connect, {AT_ONCE} browsers at once"
    ));
    let bar = bar(report, ACCOUNTS as u64, "accounts connected");
    let one = async |n: usize| {
        let account = Account::make(partner, &name(n)).await?;
        account.connect(stage, partner, "sandbox").await?;
        bar.inc(1);
        anyhow::Ok(account)
    };
    let accounts: Vec<Account> = stream::iter((0..ACCOUNTS).map(one))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    bar.finish_and_clear();
    let exchanged = sandbox.counters().await?.since(&before, "token_exchange");
    step.equal("codes exchanged at the sandbox", ACCOUNTS as u64, exchanged);
    report.end(step, format!("{} connected", accounts.len()))?;
    Ok(accounts)
}

/// Watches them, then lets them calm down so that both sides' counts can be compared to the last one.
pub(super) async fn watch(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
    fleet: &[Account],
    before: &Counts,
) -> anyhow::Result<()> {
    let mut step = report.step(format!("watched live for {WATCH} s"));
    let began = Counts::read(stage).await?;
    let shortest = look(report, partner, fleet).await?;
    let ended = Counts::read(stage).await?;
    let (refreshes, _) = ended.refreshes(&began);
    step.holds(
        "every token lived whenever we looked",
        !shortest.is_zero(),
        format!("{:.2} s at least", shortest.as_secs_f64()),
    );
    if let Some(lead) = ended
        .ours
        .least(&began.ours, "latchkey_refresh_lead_seconds")
    {
        step.holds("smallest lead", lead > 0.0, format!("{lead} s or more"));
    }
    step.equal(
        "misses",
        0,
        ended
            .ours
            .since(&began.ours, "latchkey_refresh_missed_total", &[]),
    );
    // A hundred accounts over some seconds are counts that a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let per_life = refreshes as f64 / (fleet.len() as f64 * WATCH as f64 / LIFE as f64);
    step.holds(
        "at most 3 refreshes a lifetime",
        per_life <= MOST_PER_LIFE,
        format!("{per_life:.1} on average"),
    );
    report.end(
        step,
        format!("{refreshes} refreshes, {per_life:.1} a lifetime"),
    )?;

    let mut step = report.step("tokens live for an hour again, and all is calm");
    let now = calm(stage, partner, fleet, Some(before)).await?;
    let (theirs, ours) = now.refreshes(before);
    step.both("refreshes", theirs, ours);
    step.equal(
        "refresh_reuse",
        0,
        now.theirs.since(&before.theirs, "refresh_reuse"),
    );
    step.equal(
        "refresh_overlap",
        0,
        now.theirs.since(&before.theirs, "refresh_overlap"),
    );
    report.end(step, format!("{ours} refreshes in all"))
}

/// Looks at every token once a second; gives the shortest life that one had left.
async fn look(report: &Report, partner: &Partner, fleet: &[Account]) -> anyhow::Result<Duration> {
    let bar = bar(report, WATCH, "seconds watched");
    let mut shortest: Option<Duration> = None;
    for _ in 0..WATCH {
        let second = tokio::time::sleep(Duration::from_secs(1));
        for life in lives(partner, fleet).await? {
            shortest = Some(shortest.map_or(life, |shortest| shortest.min(life)));
        }
        bar.inc(1);
        if let Some(shortest) = shortest {
            bar.set_message(format!(
                "shortest life left {:.2} s",
                shortest.as_secs_f64()
            ));
        }
        second.await;
    }
    bar.finish_and_clear();
    shortest.context("nobody was watched")
}

/// How long each token still lives.
async fn lives(partner: &Partner, fleet: &[Account]) -> anyhow::Result<Vec<Duration>> {
    let all = integrations(partner, fleet).await?;
    let now = SystemClock.now();
    let life = |integration: &Value| {
        let end = time(&integration["expires_at"]).context("an integration without expires_at")?;
        Ok(now.until(end))
    };
    all.iter().map(life).collect()
}

/// The integrations of all accounts, in their order.
pub(super) async fn integrations(
    partner: &Partner,
    fleet: &[Account],
) -> anyhow::Result<Vec<Value>> {
    let one = |account: &Account| {
        let account = account.clone();
        async move { account.integration(partner, "sandbox").await }
    };
    stream::iter(fleet.iter().map(one))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Asks for a refresh of each account's grant.
pub(super) async fn refresh_all(partner: &Partner, fleet: &[Account]) -> anyhow::Result<()> {
    let one = |account: &Account| {
        let path = format!(
            "/api/v1/accounts/{}/integrations/sandbox/refresh",
            account.id
        );
        async move { partner.ask(Method::POST, &path, None).await.map(drop) }
    };
    stream::iter(fleet.iter().map(one))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Gives long tokens and waits until every living grant has one and, if asked for, both sides have counted the
/// same refreshes since `before`. What does not settle shows in the counts.
pub(super) async fn calm(
    stage: &Stage,
    partner: &Partner,
    fleet: &[Account],
    before: Option<&Counts>,
) -> anyhow::Result<Counts> {
    stage
        .sandbox()?
        .set(json!({ "access_lifetime_s": LONG_LIFE }))
        .await?;
    let deadline = SystemClock.monotonic() + CALM;
    let minute = Duration::from_secs(60);
    loop {
        let all = integrations(partner, fleet).await?;
        let now = Counts::read(stage).await?;
        let agree = before.is_none_or(|before| {
            let (theirs, ours) = now.refreshes(before);
            theirs == ours
        });
        let is_long = |one: &Value| {
            let end = time(&one["expires_at"]).unwrap_or(Timestamp::from_micros(0));
            text(&one["status"]) != "active" || SystemClock.now().until(end) > minute
        };
        let settled = agree && all.iter().all(is_long);
        if settled || SystemClock.monotonic() > deadline {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Progress for a person who looks on.
fn bar(report: &Report, length: u64, what: &str) -> ProgressBar {
    if report.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("    {bar:40} {pos}/{len} {prefix}  {msg}");
    let bar = ProgressBar::new(length).with_prefix(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
