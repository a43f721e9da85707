//! The same walk against a real server: a person consents, and nothing is forced on it (no short tokens, no
//! faults, no kill), so there are no counters of its own to compare with.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{Kept, USER, connect, ending, give_client, make_partner, text};
use crate::{
    demo::{RealServer, partner::Partner, report::Report, stage::Stage},
    output,
};

/// How long the provider may take for a refresh.
const PATIENCE: Duration = Duration::from_secs(60);

/// Walks it.
pub(super) async fn walk(
    stage: &mut Stage,
    report: &mut Report,
    real: &RealServer,
) -> anyhow::Result<Kept> {
    let (provider, service) = names(real)?;
    report.part("A partner, its user, and your client at the provider")?;
    let partner = make_partner(stage, report).await?;
    let mut client = json!({
        "provider": provider, "client_id": real.client.client_id, "params": real.params,
    });
    if let Some(secret) = &real.client.client_secret {
        client["client_secret"] = secret.expose_secret().into();
    }
    let callback = give_client(stage, report, client).await?;
    output::note(&format!(
        "\n    Register this redirect URI at the provider before you go on:\n\n    {callback}\n"
    ));
    let account = connect::account(report, &partner, USER).await?;
    report.part("Connecting")?;
    connect::connect(stage, report, &partner, &provider, &account, true).await?;
    report.part("Calling and refreshing")?;
    call(
        report,
        &partner,
        &format!("/api/v1/proxy/{provider}/{service}{}", real.call),
    )
    .await?;
    refresh(report, &partner, &account.id, &provider).await?;
    report.part("Leaving, and paying")?;
    ending::disconnect(stage, report, &partner, &provider, &account).await?;
    ending::bill(stage, report, &partner).await?;
    Ok(Kept {
        key: partner.key,
        account: None,
    })
}

/// The provider's slug and its first service's, as the catalogue file says them.
fn names(real: &RealServer) -> anyhow::Result<(String, String)> {
    let place = || format!("cannot read {}", real.file.display());
    let text = std::fs::read_to_string(&real.file).with_context(place)?;
    let file: toml::Value = toml::from_str(&text).with_context(place)?;
    let slug = |value: Option<&toml::Value>| value?.get("slug")?.as_str().map(str::to_owned);
    let service = slug(file.get("services").and_then(|services| services.get(0)));
    let provider = slug(Some(&file));
    provider
        .zip(service)
        .with_context(|| format!("{} names no provider or no service", real.file.display()))
}

/// One raw call.
async fn call(report: &mut Report, partner: &Partner, path: &str) -> anyhow::Result<()> {
    let mut step = report.step(format!("GET {path}  X-Account-Id: {USER}"));
    let answer = partner.call(path, USER, None).await?;
    step.took(answer.took);
    step.holds("the provider answered", answer.status < 500, answer.status);
    report.end(
        step,
        format!(
            "{}, {} bytes of {}",
            answer.status,
            answer.body.len(),
            answer.header("content-type")
        ),
    )
}

/// One refresh, asked for.
async fn refresh(
    report: &mut Report,
    partner: &Partner,
    account: &str,
    provider: &str,
) -> anyhow::Result<()> {
    let mut step = report.step(format!(
        "POST /api/v1/accounts/…/integrations/{provider}/refresh"
    ));
    let path = format!("/api/v1/accounts/{account}/integrations/{provider}/refresh");
    let asked = partner.ask(Method::POST, &path, None).await?;
    let (job, _) = partner.job(&text(&asked["job_id"]), PATIENCE).await?;
    step.equal("job", "completed", text(&job["status"]));
    report.end(step, text(&job["status"]))
}
