//! `latchkey keys …`: API keys of a partner.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    commands::partner::{Common, rows, segment, without_nulls},
    output,
};

const CREATE: &str = "\
Examples:
  latchkey keys create prt_0199…
  latchkey keys create prt_0199… --test --name ci --json

A partner has at most two live keys of a kind, so that one can be replaced while the other works.";
const LIST: &str = "\
Examples:
  latchkey keys list prt_0199…";
const REVOKE: &str = "\
Examples:
  latchkey keys revoke prt_0199… key_0199…";

/// Make, list and revoke a partner's API keys
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key; it is shown this once
#[derive(Args, Debug)]
#[command(after_help = CREATE)]
pub(crate) struct Create {
    /// The partner's id (prt_…)
    partner: String,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// A test key: it reaches the sandbox only and is never billed
    #[arg(long)]
    test: bool,
    #[command(flatten)]
    common: Common,
}

/// List a partner's keys; the keys themselves cannot be shown
#[derive(Args, Debug)]
#[command(after_help = LIST)]
pub(crate) struct List {
    /// The partner's id (prt_…)
    partner: String,
    #[command(flatten)]
    common: Common,
}

/// Revoke a key: requests with it answer 401 at once
#[derive(Args, Debug)]
#[command(after_help = REVOKE)]
pub(crate) struct Revoke {
    /// The partner's id (prt_…)
    partner: String,
    /// The key's id (key_…)
    key: String,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(create) => make(create).await,
        Command::List(List { partner, common }) => list(&partner, &common).await,
        Command::Revoke(Revoke {
            partner,
            key,
            common,
        }) => revoke(&partner, &key, &common).await,
    }
}

async fn make(create: Create) -> anyhow::Result<()> {
    let Create {
        partner,
        name,
        test,
        common,
    } = create;
    let mode = if test { "test" } else { "live" };
    let body = without_nulls(json!({ "mode": mode, "name": name }));
    let path = format!("partners/{}/keys", segment(&partner)?);
    let made = common.ask(Method::POST, &path, Some(body)).await?;
    if common.json {
        return output::json(&made);
    }
    output::line(&format!(
        "{}  {}",
        made["id"].as_str().unwrap_or_default(),
        made["key"].as_str().unwrap_or_default()
    ))?;
    output::note("The key is shown this once: only its hash is kept.");
    Ok(())
}

async fn list(partner: &str, common: &Common) -> anyhow::Result<()> {
    let path = format!("partners/{}/keys", segment(partner)?);
    let answer = common.ask(Method::GET, &path, None).await?;
    let keys = answer["keys"].as_array().cloned().unwrap_or_default();
    if common.json {
        return keys.iter().try_for_each(output::json);
    }
    let columns = [
        "id",
        "prefix",
        "mode",
        "name",
        "created_at",
        "last_used_at",
        "revoked_at",
    ];
    let heading = [
        "ID",
        "BEGINS WITH",
        "MODE",
        "NAME",
        "MADE",
        "LAST USED",
        "REVOKED",
    ];
    output::line(&output::table(&heading, &rows(&keys, &columns)))
}

async fn revoke(partner: &str, key: &str, common: &Common) -> anyhow::Result<()> {
    let path = format!("partners/{}/keys/{}", segment(partner)?, segment(key)?);
    let answer = common.ask(Method::DELETE, &path, None).await?;
    if common.json {
        return output::json(&answer);
    }
    output::line(&format!("Key {key} is revoked."))
}
