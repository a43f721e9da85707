//! `latchkey sandbox`: the provider simulator alone.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_providers::Catalog;
use latchkey_runtime::{config::LogChoice, listen};
use latchkey_sandbox::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, SandboxConfig, Settings,
};
use serde_json::{Map, Value, json};

use crate::{failure::asked_wrongly, output, serving};

const EXAMPLES: &str = "\
Examples:
  latchkey sandbox                                        http://127.0.0.1:8081
  latchkey sandbox --set access_lifetime_s=5              tokens that live for 5 seconds
  latchkey sandbox --listen 127.0.0.1:0 --json            any free port; stdout tells which

It speaks the dialect of every provider of the catalogue, each at /PROVIDER/HOST/…: what is
https://slack.com/api/auth.test there is http://127.0.0.1:8081/slack/slack.com/api/auth.test here.

While it runs:
  GET  /sandbox/counters      what happened so far
  PUT  /sandbox/settings      {\"access_lifetime_s\": 5, \"token_latency_ms\": 200}
  POST /sandbox/faults        {\"target\": \"refresh\", \"kind\": \"drop_after_acting\", \"count\": 1}";

/// Run the provider simulator: an OAuth server and an API that echoes, with switchable faults
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Change a setting from the start, such as access_lifetime_s=5; repeat for several
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A directory of entries of your own, whose dialects it speaks too
    #[arg(long, value_name = "DIR", env = "LATCHKEY_CATALOG_DIR")]
    catalog_dir: Option<std::path::PathBuf>,
    /// Print one JSON object with its URL and client
    #[arg(long)]
    json: bool,
    /// Stop when standard input ends
    #[arg(long)]
    until_eof: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    serving::logs(LogChoice::Auto)?;
    let settings = settings(&arguments.set)?;
    let listener = listen::bind(arguments.listen).await?;
    let catalog = Catalog::load(arguments.catalog_dir.as_deref())?;
    let config = SandboxConfig {
        settings,
        catalog: Some(catalog),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(
        config,
        listener,
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    )
    .context("the sandbox does not start")?;
    let url = sandbox.base_url();
    if arguments.json {
        output::json(&json!({
            "url": url,
            "client_id": DEFAULT_CLIENT_ID,
            "client_secret": DEFAULT_CLIENT_SECRET,
            "dialects": sandbox.dialects(),
        }))?;
    } else {
        output::line(&format!(
            "Sandbox: an OAuth server and API that plays the provider. It guards nothing.\n\
             \x20 URL            {url}\n\
             \x20 client id      {DEFAULT_CLIENT_ID}\n\
             \x20 client secret  {DEFAULT_CLIENT_SECRET}\n\
             \x20 counters       {url}/sandbox/counters\n\
             \x20 dialects       {url}/PROVIDER/HOST/…, each of the {} of the catalogue\n\
             Ctrl-C stops it.",
            sandbox.dialects().len(),
        ))?;
    }
    let mut ends = serving::Ends::listen(arguments.until_eof)?;
    ends.next().await;
    sandbox.stop().await;
    Ok(())
}

/// The sandbox's defaults with these changes, each `name=value`.
fn settings(changes: &[String]) -> anyhow::Result<Settings> {
    let mut map = Map::new();
    for change in changes {
        let (name, value) = change
            .split_once('=')
            .ok_or_else(|| asked_wrongly(format!("--set {change}: write it as NAME=VALUE")))?;
        // A word is text; numbers and true or false are themselves.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        map.insert(name.to_owned(), value);
    }
    Settings::default().with(&map).map_err(|error| {
        let error = anyhow::Error::new(error);
        asked_wrongly(format!("--set: {error:#}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_and_checked() {
        let of = |changes: &[&str]| {
            settings(&changes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let changed = of(&["access_lifetime_s=5", "rotation=none", "reuse_kills=false"]).unwrap();
        assert!((changed.access_lifetime_s - 5.0).abs() < f64::EPSILON && !changed.reuse_kills);
        for wrong in ["access_lifetime_s", "nonsense=1", "access_lifetime_s=0.1"] {
            let error = of(&[wrong]).unwrap_err();
            assert!(error.is::<crate::failure::AskedWrongly>(), "{error}");
        }
    }
}
