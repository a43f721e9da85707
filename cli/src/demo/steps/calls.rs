//! Calling: one that waits, one that is polled, and twenty at once on a token that has ended.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use super::{USER, connect::Account, text, time};
use crate::demo::{
    numbers::{REFRESHED, REFRESHES},
    partner::{self, Partner},
    report::Report,
    stage::Stage,
};

/// What is called: the profile of the sandbox's user.
const PROFILE: &str = "/api/v1/sandbox/profile";
/// How long a job may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Callers at once.
const CALLERS: usize = 20;
/// Life of the token that ends meanwhile, seconds.
const SHORT_LIFE: u64 = 3;
/// Life of every other token, seconds: the sandbox's own default.
pub(super) const LONG_LIFE: u64 = 3600;

/// A call whose answer is waited for.
pub(super) async fn waiting(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
) -> anyhow::Result<()> {
    let before = stage.sandbox()?.counters().await?;
    let mut step = report.step(format!("GET {PROFILE}  X-Account-Id: {USER}"));
    let answer = partner.call(PROFILE, USER, None).await?;
    let data = partner::data(&answer)?;
    step.took(answer.took);
    step.equal("it is", USER, text(&data["sub"]));
    let calls = stage
        .sandbox()?
        .counters()
        .await?
        .since(&before, "api_calls");
    step.equal("requests at the sandbox", 1, calls);
    report.end(
        step,
        format!("{}, the profile of {}", answer.status, text(&data["email"])),
    )
}

/// The same, accepted at once and polled.
pub(super) async fn asynchronous(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
) -> anyhow::Result<()> {
    let before = stage.sandbox()?.counters().await?;
    let step = report.step("the same with  Prefer: respond-async");
    let answer = partner.call(PROFILE, USER, Some("respond-async")).await?;
    let accepted = partner::data(&answer)?;
    let job = text(&accepted["job_id"]);
    report.end(step, format!("{} {job}", answer.status))?;

    let mut step = report.step("GET /api/v1/jobs/…  until it is final");
    let (job, polls) = partner.job(&job, PATIENCE).await?;
    step.equal(
        "accepted with",
        StatusCode::ACCEPTED.as_u16(),
        answer.status,
    );
    step.equal(
        "the provider's status",
        json!(200),
        job["result"]["status"].clone(),
    );
    let calls = stage
        .sandbox()?
        .counters()
        .await?
        .since(&before, "api_calls");
    step.equal("requests at the sandbox", 1, calls);
    report.end(
        step,
        format!("{} after {polls} polls", text(&job["status"])),
    )
}

/// Twenty calls on a rotating token that has ended: one refresh serves them all.
pub(super) async fn together(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
    ada: &Account,
) -> anyhow::Result<()> {
    let sandbox = stage.sandbox()?;
    let step = report.step(format!(
        "a refresh that gives a {SHORT_LIFE}-second token; SIGSTOP until it ends"
    ));
    sandbox
        .set(json!({ "access_lifetime_s": SHORT_LIFE }))
        .await?;
    let old = time(&ada.integration(partner, "sandbox").await?["last_refreshed_at"]);
    let path = format!("/api/v1/accounts/{}/integrations/sandbox/refresh", ada.id);
    partner.ask(Method::POST, &path, None).await?;
    while time(&ada.integration(partner, "sandbox").await?["last_refreshed_at"]) == old {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (theirs, ours) = (sandbox.counters().await?, refreshed(stage).await?);
    // Stopped, so that the scheduler cannot refresh it in time, as it otherwise would.
    stage.server()?.signal(Signal::STOP)?;
    tokio::time::sleep(Duration::from_secs(SHORT_LIFE)).await;
    sandbox
        .set(json!({ "access_lifetime_s": LONG_LIFE }))
        .await?;
    report.end(step, "the token has ended")?;

    let mut step = report.step(format!(
        "SIGCONT, and {CALLERS} calls at once on the ended token"
    ));
    stage.server()?.signal(Signal::CONT)?;
    let answers = join_all((0..CALLERS).map(|_| partner.call(PROFILE, USER, None))).await;
    let mut good = 0;
    for answer in answers {
        let answer = answer?;
        good += usize::from(answer.status == 200 && partner::data(&answer)?["sub"] == USER);
    }
    let now = sandbox.counters().await?;
    step.equal("good answers", CALLERS, good);
    let mine = refreshed(stage).await?.saturating_sub(ours);
    step.grown("token_refresh", 1, now.since(&theirs, "token_refresh"));
    step.grown("refreshed here", 1, mine);
    step.equal("refresh_reuse", 0, now.since(&theirs, "refresh_reuse"));
    step.equal("refresh_overlap", 0, now.since(&theirs, "refresh_overlap"));
    step.equal(
        "requests at the sandbox",
        CALLERS as u64,
        now.since(&theirs, "api_calls"),
    );
    report.end(step, format!("{good} × 200"))
}

/// How many refreshes landed here since the server started.
async fn refreshed(stage: &Stage) -> anyhow::Result<u64> {
    Ok(stage.metrics().await?.sum(REFRESHES, REFRESHED))
}
