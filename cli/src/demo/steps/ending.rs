//! Leaving and paying: the revocation with its receipt, usage, and a statement that shows overage.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use latchkey_domain::{Clock, SystemClock};

use super::{connect::Account, text};
use crate::demo::{partner::Partner, report::Report, stage::Stage};

/// How long the provider may take to confirm.
const PATIENCE: Duration = Duration::from_secs(30);

/// Disconnects the account and waits for the provider's confirmation.
pub(super) async fn disconnect(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
    provider: &str,
    account: &Account,
) -> anyhow::Result<()> {
    let before = match &stage.sandbox {
        Some(sandbox) => Some(sandbox.counters().await?),
        None => None,
    };
    let step = report.step(format!("DELETE /api/v1/accounts/…/integrations/{provider}"));
    let path = format!("/api/v1/accounts/{}/integrations/{provider}", account.id);
    let deleted = partner.ask(Method::DELETE, &path, None).await?;
    let job = deleted["revocation_jobs"][0].as_str();
    let job = job
        .context("the answer names no job that revokes")?
        .to_owned();
    report.end(step, format!("{job}, stopped here"))?;

    let mut step = report.step("GET /api/v1/jobs/…  the receipt of the revocation");
    let (receipt, _) = partner.job(&job, PATIENCE).await?;
    step.equal("job", "completed", text(&receipt["status"]));
    if let (Some(before), Some(sandbox)) = (before, &stage.sandbox) {
        let now = sandbox.counters().await?;
        step.equal(
            "revocations at the sandbox",
            1,
            now.since(&before, "revocations"),
        );
    }
    let (outcome, statuses) = (
        text(&receipt["receipt"]["outcome"]),
        &receipt["receipt"]["statuses"],
    );
    step.equal("receipt", "confirmed", &outcome);
    report.end(step, format!("{outcome}; the provider answered {statuses}"))
}

/// Shows the month so far.
pub(super) async fn bill(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
) -> anyhow::Result<()> {
    let month = SystemClock.now().month();
    let path = format!("/api/v1/usage/statement?period={month}");
    let mut step = report.step(format!("GET {path}"));
    let statement = partner.ask(Method::GET, &path, None).await?;
    let number = |name: &str| statement[name].as_u64().unwrap_or_default();
    if let Some(sandbox) = &stage.sandbox {
        // Each connect asks for the user's identity, which is no call of the partner's.
        let counters = sandbox.counters().await?;
        let calls = counters
            .get("api_calls")
            .saturating_sub(counters.get("token_exchange"));
        step.both("calls", calls, number("used"));
    }
    let (used, included) = (number("used"), number("included"));
    let over = used.saturating_sub(included);
    step.equal("beyond the included", over, number("overage_calls"));
    step.equal("provisional", true, statement["provisional"] == true);
    let amount = number("amount_minor");
    let money = format!(
        "{} {}.{:02}",
        text(&statement["currency"]),
        amount / 100,
        amount % 100
    );
    report.end(
        step,
        format!("{used} used, {included} included, {over} over: {money}"),
    )?;

    let mut step = report.step("GET /api/v1/usage?granularity=day  and the receipts");
    let usage = partner
        .ask(Method::GET, "/api/v1/usage?granularity=day", None)
        .await?;
    let counted = usage["total"]["billed"].as_u64().unwrap_or_default();
    step.equal("usage", used, counted);
    let calls = partner
        .ask(Method::GET, "/api/v1/calls?billed=true&limit=100", None)
        .await?;
    let receipts = calls["calls"].as_array().map_or(0, Vec::len) as u64;
    step.equal("receipts", used, receipts);
    report.end(
        step,
        format!("{counted} calls that count, {receipts} receipts"),
    )
}
