//! The simulated provider beside the server, with an auth config ready, so that a newcomer can connect an
//! account within a minute.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{Router, http::Method};
use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_providers::Catalog;
use latchkey_runtime::{Config, Context, listen};
use latchkey_sandbox::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, SandboxConfig, SandboxHandle,
};
use serde_json::json;

use crate::operator;

/// The addresses of this machine, which provider requests may not reach unless they are allowed to.
const LOOPBACK: &str = "127.0.0.0/8";
/// The auth config's name, by which a later start finds it.
const NAME: &str = "Sandbox beside the server";
/// The name of those of the dialects.
const DIALECT_NAME: &str = "Dialect of the sandbox beside the server";

/// Starts the sandbox and allows requests to it.
pub(super) async fn start(
    address: SocketAddr,
    config: &mut Config,
) -> anyhow::Result<SandboxHandle> {
    let listener = listen::bind(address)
        .await
        .context("choose another with --sandbox-listen")?;
    if !config.egress_allow.iter().any(|block| block == LOOPBACK) {
        config.egress_allow.push(LOOPBACK.to_owned());
    }
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let sandbox = SandboxConfig {
        catalog: Some(Catalog::load(config.catalog_dir.as_deref())?),
        ..SandboxConfig::default()
    };
    Ok(Sandbox::start(sandbox, listener, clock, entropy)?)
}

/// Leads every provider of the catalogue to the sandbox, and makes a client of the operator's for each, so that a
/// partner can connect an account to any of them.
pub(super) fn play_all(context: &mut Context, sandbox: &SandboxHandle) -> anyhow::Result<()> {
    let catalog = Catalog::load(context.config.catalog_dir.as_deref())?;
    context.catalog = Arc::new(catalog.in_sandbox(sandbox.base_url()));
    Ok(())
}

/// The clients of every dialect: made where they are missing with a sandbox, switched off without one, so that
/// nobody is sent to a real provider with them.
async fn dialect_configs(
    context: &Context,
    operator: &Router,
    sandbox: Option<&SandboxHandle>,
) -> anyhow::Result<()> {
    let ask = async |method, path: &str, body| {
        let token = &context.operator_token;
        let (status, answer) = operator::here(operator, token, method, path, body).await?;
        operator::understood(status, answer).context("cannot make the dialects' auth configs")
    };
    let wanted = sandbox.map(SandboxHandle::dialects).unwrap_or_default();
    let mut there = BTreeMap::new();
    let all = ask(Method::GET, "auth_configs", None).await?;
    for config in all["auth_configs"].as_array().into_iter().flatten() {
        let ours = config["name"] == DIALECT_NAME;
        if let (true, Some(id), Some(provider)) =
            (ours, config["id"].as_str(), config["provider"].as_str())
        {
            there.insert(
                provider.to_owned(),
                (id.to_owned(), config["status"] == "enabled"),
            );
        }
    }
    for (provider, (id, is_enabled)) in &there {
        let status = if wanted.contains(&provider.as_str()) {
            "enabled"
        } else {
            "disabled"
        };
        if *is_enabled != (status == "enabled") {
            let body = json!({ "status": status });
            ask(Method::PATCH, &format!("auth_configs/{id}"), Some(body)).await?;
        }
    }
    for provider in wanted.into_iter().filter(|slug| !there.contains_key(*slug)) {
        let body = json!({
            "provider": provider,
            "name": DIALECT_NAME,
            "client_id": DEFAULT_CLIENT_ID,
            "client_secret": DEFAULT_CLIENT_SECRET,
        });
        ask(Method::POST, "auth_configs", Some(body)).await?;
    }
    Ok(())
}

/// The auth configs of the sandbox's own provider and of every dialect; gives the first one's id.
pub(super) async fn auth_configs(
    context: &Context,
    operator: &Router,
    sandbox: Option<&SandboxHandle>,
) -> anyhow::Result<Option<String>> {
    dialect_configs(context, operator, sandbox).await?;
    match sandbox {
        Some(sandbox) => auth_config(context, operator, sandbox).await.map(Some),
        None => Ok(None),
    }
}

/// Finds or makes the operator's auth config for it; those of other addresses are switched off.
async fn auth_config(
    context: &Context,
    operator: &Router,
    sandbox: &SandboxHandle,
) -> anyhow::Result<String> {
    let ask = async |method, path: &str, body| {
        let token = &context.operator_token;
        let (status, answer) = operator::here(operator, token, method, path, body).await?;
        operator::understood(status, answer).context("cannot make the sandbox's auth config")
    };
    let all = ask(Method::GET, "auth_configs", None).await?;
    let mut ready = None;
    for config in all["auth_configs"].as_array().into_iter().flatten() {
        let ours = config["name"] == NAME && config["status"] == "enabled";
        let Some(id) = config["id"].as_str().filter(|_| ours) else {
            continue;
        };
        if config["params"]["base_url"] == sandbox.base_url() {
            ready = Some(id.to_owned());
        } else {
            ask(
                Method::PATCH,
                &format!("auth_configs/{id}"),
                Some(json!({ "status": "disabled" })),
            )
            .await?;
        }
    }
    if let Some(id) = ready {
        return Ok(id);
    }
    let body = json!({
        "provider": "sandbox",
        "name": NAME,
        "client_id": DEFAULT_CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "params": { "base_url": sandbox.base_url() },
    });
    let made = ask(Method::POST, "auth_configs", Some(body)).await?;
    let id = made["id"].as_str().context("the auth config has no id")?;
    Ok(id.to_owned())
}
