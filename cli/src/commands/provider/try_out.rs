//! `latchkey provider try`.

use clap::Args;
use latchkey_sandbox::walk::Walk;
use serde_json::json;

use super::Files;
use crate::{
    failure::{AlreadyTold, asked_wrongly},
    output::{self, Paint},
};

const EXAMPLES: &str = "\
Examples:
  latchkey provider try google
  latchkey provider try ./providers/acme.toml --json

It needs no network: the sandbox plays the provider as the entry describes it, and everything that Latchkey does
with a provider is done once: consent, exchange, identity, every class of errors, refresh, the end of an access
token, the rate limit, every named endpoint, disconnection. Exit 1 if a step does not go as the entry says.";

/// Walk through a provider's entry against the sandbox, and show each step
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A slug, or a .toml file
    provider: String,
    /// Print one JSON object per step
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: Files,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let provider = super::entry(&arguments.files, &arguments.provider)?;
    if !provider.oauth.token.url.to_string().starts_with("https://") {
        return Err(asked_wrongly(format!(
            "'{}' is a sandbox itself; try another provider",
            provider.slug
        )));
    }
    let paint = Paint::stdout();
    let (steps, failed) = match Box::pin(Walk::of(&provider).run()).await {
        Ok(steps) => (steps, None),
        Err(error) => (error.taken.clone(), Some(error)),
    };
    for step in &steps {
        if arguments.json {
            output::json(&json!({"step": step.name, "ok": true, "told": step.told}))?;
        } else {
            output::line(&format!(
                "{}  {:<32} {}",
                paint.good("ok  "),
                step.name,
                step.told
            ))?;
        }
    }
    let Some(error) = failed else {
        return Ok(());
    };
    if arguments.json {
        output::json(&json!({"step": error.step, "ok": false, "told": error.problem}))?;
    } else {
        output::line(&format!(
            "{}  {:<32} {}",
            paint.bad("FAIL"),
            error.step,
            error.problem
        ))?;
    }
    Err(AlreadyTold.into())
}
