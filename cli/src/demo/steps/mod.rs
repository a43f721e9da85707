//! The steps of the demo in their order, one part a file.

mod calls;
pub(crate) mod connect;
mod crash;
mod ending;
mod fleet;
mod real;

use axum::http::Method;
use latchkey_domain::Timestamp;
use serde_json::{Value, json};

use crate::{
    demo::{Provider, partner::Partner, report::Report, stage::Stage},
    operator::Operator,
};

/// What `--keep` prints.
#[derive(Debug)]
pub(crate) struct Kept {
    /// A partner's key.
    pub(crate) key: String,
    /// The external id of an account that is connected, if one still is.
    pub(crate) account: Option<String>,
}

/// The end user whom the demo is about.
const USER: &str = "ada";

/// Does everything once.
///
/// # Errors
/// What kept the demo from going on. What merely disagrees is in the report.
pub(crate) async fn walk(
    stage: &mut Stage,
    report: &mut Report,
    provider: &Provider,
) -> anyhow::Result<Kept> {
    introduce(stage, report)?;
    if let Provider::Real(real) = provider {
        return real::walk(stage, report, real).await;
    }
    let browser = matches!(provider, Provider::Sandbox { browser: true });
    report.part("A partner and its user")?;
    let partner = make_partner(stage, report).await?;
    give_client(stage, report, sandbox_client(stage)?).await?;
    let ada = connect::account(report, &partner, USER).await?;
    report.part("Connecting")?;
    connect::connect(stage, report, &partner, "sandbox", &ada, browser).await?;
    report.part("Calling the provider for her")?;
    calls::waiting(stage, report, &partner).await?;
    calls::asynchronous(stage, report, &partner).await?;
    calls::together(stage, report, &partner, &ada).await?;
    report.part("100 accounts with 5-second tokens")?;
    // All is calm here: from now on both sides count the same refreshes.
    let before = fleet::Counts::read(stage).await?;
    let fleet = fleet::connect(stage, report, &partner).await?;
    fleet::watch(stage, report, &partner, &fleet, &before).await?;
    report.part("kill -9 in the middle of refreshes")?;
    let living = crash::crash(stage, report, &partner, &fleet).await?;
    report.part("Leaving, and paying")?;
    ending::disconnect(stage, report, &partner, "sandbox", &ada).await?;
    ending::bill(stage, report, &partner).await?;
    Ok(Kept {
        key: partner.key,
        account: Some(living),
    })
}

/// Stops the server as an operator would.
pub(crate) async fn stop(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    let id = stage.server_id().unwrap_or_default();
    let mut step = report.step(format!("kill -TERM {id}"));
    let ended = stage.stop_server().await;
    let shown = ended.map_or("it did not end in time".to_owned(), |status| {
        status.to_string()
    });
    step.equal(
        "exit code",
        0,
        ended.and_then(|status| status.code()).unwrap_or(-1),
    );
    report.end(step, shown)
}

fn introduce(stage: &Stage, report: &Report) -> anyhow::Result<()> {
    let id = |id: Option<u32>| id.map_or_else(String::new, |id| format!("process {id}"));
    report.say("Latchkey demo: the main job once, on real sockets. Asked, answered, time; then both sides' counts.")?;
    if let Some(sandbox) = &stage.sandbox {
        let (url, id) = (
            sandbox.url.as_str().trim_end_matches('/'),
            id(stage.sandbox_id()),
        );
        report.say(&format!(
            "  sandbox   {url:<24} {id}: an OAuth server and API that plays the provider"
        ))?;
    }
    let id = id(stage.server_id());
    let url = &stage.run.public_url;
    report.say(&format!(
        "  latchkey  {url:<24} {id}: API, worker, scheduler; a new SQLite store"
    ))?;
    let app = stage.app.url.origin().ascii_serialization();
    report.say(&format!(
        "  partner   {app:<24} this process: a partner's program and its users' browsers"
    ))?;
    report.say(
        "  Durations of the refresh protocol are shortened by settings for the demo: time-out 2 s (default 30),\n  \
         lease 3 s (40), provider's delay 2 s (60), quiet 0.5 s (30), sweep 0.5 s (15), ending 1 s (60).",
    )
}

/// A partner and the client it shares, without a word.
pub(crate) async fn partner(stage: &Stage) -> anyhow::Result<Partner> {
    let made = operator(stage)
        .ask(Method::POST, "partners", Some(new_partner(stage)))
        .await?;
    let client = sandbox_client(stage)?;
    operator(stage)
        .ask(Method::POST, "auth_configs", Some(client))
        .await?;
    let key = text(&made["api_key"]["key"]);
    Ok(Partner::new(stage.http.clone(), stage.public.clone(), key))
}

fn new_partner(stage: &Stage) -> Value {
    json!({
        "company": "Acme", "website": "https://acme.example", "plan": "demo",
        "redirect_urls": [stage.app.url],
    })
}

/// The operator makes a partner on the demo's plan.
async fn make_partner(stage: &Stage, report: &mut Report) -> anyhow::Result<Partner> {
    let mut step = report.step("POST /operator/partners {company: \"Acme\", plan: \"demo\"}");
    let made = operator(stage)
        .ask(Method::POST, "partners", Some(new_partner(stage)))
        .await?;
    let key = text(&made["api_key"]["key"]);
    step.equal(
        "key begins with",
        "sk_live_",
        key.get(..8).unwrap_or_default(),
    );
    report.end(
        step,
        format!("{}, its key once", text(&made["partner"]["id"])),
    )?;
    Ok(Partner::new(stage.http.clone(), stage.public.clone(), key))
}

/// The operator gives the OAuth client that its partners share; gives its callback URL.
async fn give_client(stage: &Stage, report: &mut Report, body: Value) -> anyhow::Result<String> {
    let provider = text(&body["provider"]);
    let step = report.step(format!(
        "POST /operator/auth_configs {{provider: \"{provider}\"}}"
    ));
    let made = operator(stage)
        .ask(Method::POST, "auth_configs", Some(body))
        .await?;
    report.end(step, format!("{}, sealed", text(&made["id"])))?;
    Ok(text(&made["callback_url"]))
}

fn sandbox_client(stage: &Stage) -> anyhow::Result<Value> {
    Ok(json!({
        "provider": "sandbox",
        "client_id": latchkey_sandbox::DEFAULT_CLIENT_ID,
        "client_secret": latchkey_sandbox::DEFAULT_CLIENT_SECRET,
        "params": { "base_url": stage.sandbox()?.url.as_str().trim_end_matches('/') },
    }))
}

fn operator(stage: &Stage) -> Operator {
    Operator::Remote {
        http: stage.http.clone(),
        run: stage.run.clone(),
    }
}

/// A JSON value as text without quotes.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A JSON value as a time.
fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?).ok()
}
