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
    let job = deleted["jobs"]
        .as_array()
        .and_then(|jobs| jobs.first())
        .unwrap_or(&deleted["job_id"]);
    let job = job
        .as_str()
        .context("the answer names no job that revokes")?
        .to_owned();
    report.end(step, format!("local use stops at once; {job}"))?;

    let mut step = report.step("GET /api/v1/jobs/…  the receipt of the revocation");
    let (receipt, _) = partner.job(&job, PATIENCE).await?;
    step.equal("job", "completed", &text(&receipt["status"]));
    if let (Some(before), Some(sandbox)) = (before, &stage.sandbox) {
        let now = sandbox.counters().await?;
        step.equal(
            "revocations at the sandbox",
            1,
            now.since(&before, "revocations"),
        );
    }
    report.end(step, text(&receipt["result"]))
}

/// Shows the month so far.
pub(super) async fn bill(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
) -> anyhow::Result<()> {
    let month = SystemClock.now().month();
    let mut step = report.step(format!("GET /api/v1/usage/statement?period={month}"));
    let statement = partner
        .ask(
            Method::GET,
            &format!("/api/v1/usage/statement?period={month}"),
            None,
        )
        .await?;
    let number = |name: &str| statement[name].as_u64().unwrap_or_default();
    if let Some(sandbox) = &stage.sandbox {
        step.both(
            "calls",
            sandbox.counters().await?.get("api_calls"),
            number("used"),
        );
    }
    let calls = partner
        .ask(Method::GET, "/api/v1/calls?limit=100", None)
        .await?;
    let receipts = calls["calls"].as_array().map_or(0, Vec::len) as u64;
    step.equal("receipts", number("used"), receipts);
    let over = number("used").saturating_sub(number("included"));
    step.equal("beyond the included", over, number("overage_calls"));
    let amount = number("amount_minor");
    let currency = text(&statement["currency"]);
    report.end(
        step,
        format!(
            "{} used, {} included, {over} over: {currency} {}.{:02}",
            number("used"),
            number("included"),
            amount / 100,
            amount % 100,
        ),
    )
}
