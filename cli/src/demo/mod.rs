//! `latchkey demo`: the main job once, from outside. The sandbox and the server run as processes of their own;
//! this one plays a partner's program and its users' browsers, and all it uses is HTTP. What it finds is
//! printed as it is: it exits 1 if anything disagrees.

mod app;
mod browser;
pub(crate) mod child;
pub(crate) mod numbers;
mod page;
pub(crate) mod partner;
mod report;
pub(crate) mod stage;
pub(crate) mod steps;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::{
    credentials::Credentials,
    demo::{report::Report, stage::Stage},
    failure::AlreadyTold,
    output,
    serving::Ends,
};

/// How the demo runs.
#[derive(Debug)]
pub(crate) struct Options {
    /// Leave it running afterwards.
    pub(crate) keep: bool,
    /// For a program.
    pub(crate) json: bool,
    /// Who plays the provider.
    pub(crate) provider: Provider,
}

/// Who plays the provider.
#[derive(Debug)]
pub(crate) enum Provider {
    /// The simulator, with a person's browser or ours.
    Sandbox {
        /// Whether a person consents.
        browser: bool,
    },
    /// A real server.
    Real(RealServer),
}

/// A real provider.
#[derive(Debug)]
pub(crate) struct RealServer {
    /// Its catalogue file.
    pub(crate) file: PathBuf,
    /// Our client there.
    pub(crate) client: Credentials,
    /// What the file asks for.
    pub(crate) params: Map<String, Value>,
    /// What to GET below its first service.
    pub(crate) call: String,
}

/// Somebody ended the demo.
#[derive(Debug, thiserror::Error)]
#[error("ended by {0}; nothing is left running")]
struct Ended(&'static str);

/// Runs the demo.
///
/// # Errors
/// When it broke off, or when anything disagreed.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut ends = Ends::listen(false)?;
    let mut report = Report::new(options.json);
    let catalog = match &options.provider {
        Provider::Real(real) => Some(real.file.as_path()),
        Provider::Sandbox { .. } => None,
    };
    let mut stage = tokio::select! {
        stage = Stage::raise(catalog) => stage?,
        why = ends.next() => return Err(Ended(why).into()),
    };
    let mut outcome = tokio::select! {
        done = steps::walk(&mut stage, &mut report, &options.provider) => done,
        why = ends.next() => Err(Ended(why).into()),
    };
    if let Ok(partner) = &outcome
        && options.keep
    {
        kept(&stage, &report, partner)?;
        ends.next().await;
    }
    if outcome.is_ok() {
        outcome = tokio::select! {
            stopped = steps::stop(&mut stage, &mut report) => stopped.and(outcome),
            why = ends.next() => Err(Ended(why).into()),
        };
    }
    let broke = outcome.as_ref().is_err_and(|error| !error.is::<Ended>());
    let words = if broke {
        stage.last_words()
    } else {
        String::new()
    };
    stage.strike().await;
    report.close(outcome.as_ref().err())?;
    match outcome {
        Err(error) if words.is_empty() => Err(error),
        Err(error) => {
            output::note(&format!("What the processes logged last:{words}"));
            Err(error)
        }
        Ok(_) if report.disagreed() > 0 => Err(AlreadyTold.into()),
        Ok(_) => Ok(()),
    }
}

/// Says where everything is that is left running.
fn kept(stage: &Stage, report: &Report, partner: &steps::Kept) -> anyhow::Result<()> {
    let sandbox = stage
        .sandbox
        .as_ref()
        .map(|sandbox| sandbox.url.to_string());
    if report.is_json() {
        return output::json(&serde_json::json!({
            "kept": true, "public_url": stage.run.public_url, "admin_url": stage.run.admin_url,
            "sandbox_url": sandbox, "key": partner.key, "account": partner.account, "directory": stage.place(),
        }));
    }
    let url = &stage.run.public_url;
    let (path, whose) = match &partner.account {
        Some(account) => ("sandbox/profile", format!(" -H 'X-Account-Id: {account}'")),
        None => ("me", String::new()),
    };
    output::line(&format!(
        "\nLeft running until Ctrl-C:\n\
         \x20 API        {url}   docs: {url}/docs\n\
         \x20 Admin      {}   /metrics, /readyz\n\
         \x20 Provider   {}\n\
         \x20 Key        {}\n\
         \x20 Directory  {}\n\n\
         \x20 curl -H 'Authorization: Bearer {}'{whose} {url}/api/v1/{path}",
        stage.run.admin_url,
        sandbox.as_deref().unwrap_or("the real one"),
        partner.key,
        stage.place().display(),
        partner.key,
    ))
}
