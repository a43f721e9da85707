//! `latchkey auth-config …`: OAuth client credentials of a provider, the operator's shared ones or a
//! partner's own.

use std::path::PathBuf;

use axum::http::Method;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::{
    commands::partner::{Common, rows, segment, without_nulls},
    credentials,
    failure::asked_wrongly,
    output,
};

const CREATE: &str = "\
Examples:
  latchkey auth-config create --provider google                 asks for client id and secret
  latchkey auth-config create --provider google --client-file client_secret.json
  printf '%s\\n' \"$ID\" \"$SECRET\" | latchkey auth-config create --provider github --client-file -
  latchkey auth-config create --provider sandbox --param base_url=http://127.0.0.1:8081 --client-file -

It prints the callback URL: register exactly that one at the provider.";
const LIST: &str = "\
Examples:
  latchkey auth-config list
  latchkey auth-config list --partner prt_0199… --json";
const PAUSE: &str = "\
Examples:
  latchkey auth-config pause ac_0199…

No new session uses it; its connections go on.";
const RESUME: &str = "\
Examples:
  latchkey auth-config resume ac_0199…";

/// Make, list, pause and resume OAuth clients
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Pause(Pause),
    Resume(Resume),
}

/// Give the OAuth client of a provider; its secret is sealed and never shown
#[derive(Args, Debug)]
#[command(after_help = CREATE)]
pub(crate) struct Create {
    /// The provider's slug (google, github, sandbox, one of yours)
    #[arg(long)]
    provider: String,
    /// Whose it is [default: shared with every partner]
    #[arg(long, value_name = "PARTNER")]
    partner: Option<String>,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// Where client id and secret stand: JSON as the provider hands it out, or two lines; - is stdin
    #[arg(long, value_name = "FILE")]
    client_file: Option<PathBuf>,
    /// A scope to ask for when a session names none; repeat for several
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A value that the provider's catalogue file asks for; repeat for several
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// List the shared OAuth clients, or a partner's
#[derive(Args, Debug)]
#[command(after_help = LIST)]
pub(crate) struct List {
    /// Whose [default: the shared ones]
    #[arg(long, value_name = "PARTNER")]
    partner: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Stop using an OAuth client for now
#[derive(Args, Debug)]
#[command(after_help = PAUSE)]
pub(crate) struct Pause {
    /// Its id (ac_…)
    id: String,
    #[command(flatten)]
    common: Common,
}

/// Use a paused OAuth client again
#[derive(Args, Debug)]
#[command(after_help = RESUME)]
pub(crate) struct Resume {
    /// Its id (ac_…)
    id: String,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(create) => make(create).await,
        Command::List(List { partner, common }) => list(partner.as_deref(), &common).await,
        Command::Pause(Pause { id, common }) => set(&common, &id, "disabled").await,
        Command::Resume(Resume { id, common }) => set(&common, &id, "enabled").await,
    }
}

async fn make(create: Create) -> anyhow::Result<()> {
    let Create {
        provider,
        partner,
        name,
        client_file,
        scopes,
        params,
        common,
    } = create;
    let params = pairs(&params)?;
    let client = credentials::read(client_file.as_deref())?;
    let body = json!({
        "provider": provider,
        "name": name,
        "client_id": client.client_id,
        "client_secret": client.client_secret.as_ref().map(ExposeSecret::expose_secret),
        "scopes": scopes,
        "params": params,
    });
    let path = of_owner(partner.as_deref())?;
    let made = common
        .ask(Method::POST, &path, Some(without_nulls(body)))
        .await?;
    if common.json {
        return output::json(&made);
    }
    let text = |name: &str| made[name].as_str().unwrap_or_default();
    output::line(&format!(
        "Auth config   {}\nCallback URL  {}",
        text("id"),
        text("callback_url")
    ))?;
    output::note("Register exactly this callback URL at the provider.");
    Ok(())
}

async fn list(partner: Option<&str>, common: &Common) -> anyhow::Result<()> {
    let answer = common.ask(Method::GET, &of_owner(partner)?, None).await?;
    let configs = answer["auth_configs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if common.json {
        return configs.iter().try_for_each(output::json);
    }
    if configs.is_empty() {
        return output::line("There are none yet: latchkey auth-config create --help");
    }
    let columns = [
        "id",
        "provider",
        "name",
        "client_id",
        "status",
        "status_reason",
        "callback_url",
    ];
    let heading = [
        "ID",
        "PROVIDER",
        "NAME",
        "CLIENT ID",
        "STATUS",
        "WHY",
        "CALLBACK URL",
    ];
    output::line(&output::table(&heading, &rows(&configs, &columns)))
}

/// The path of a partner's configs, or of the shared ones.
fn of_owner(partner: Option<&str>) -> anyhow::Result<String> {
    Ok(match partner {
        Some(partner) => format!("auth_configs?partner_id={}", segment(partner)?),
        None => "auth_configs".to_owned(),
    })
}

async fn set(common: &Common, id: &str, status: &str) -> anyhow::Result<()> {
    let path = format!("auth_configs/{}", segment(id)?);
    let answer = common
        .ask(Method::PATCH, &path, Some(json!({ "status": status })))
        .await?;
    if common.json {
        return output::json(&answer);
    }
    output::line(&format!("Auth config {id} is {status}."))
}

/// `name=value` pairs as an object.
pub(crate) fn pairs(texts: &[String]) -> anyhow::Result<Map<String, Value>> {
    let pair = |text: &String| {
        let wrong = || asked_wrongly(format!("--param {text}: write it as NAME=VALUE"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        Ok((name.to_owned(), Value::from(value)))
    };
    texts.iter().map(pair).collect()
}
