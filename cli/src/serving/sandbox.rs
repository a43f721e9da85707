//! The simulated provider beside the server, with an auth config ready, so that a newcomer can connect an
//! account within a minute.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{Router, http::Method};
use latchkey_domain::{SystemClock, SystemEntropy};
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
    Ok(Sandbox::start(
        SandboxConfig::default(),
        listener,
        clock,
        entropy,
    )?)
}

/// Finds or makes the operator's auth config for it; those of other addresses are switched off.
pub(super) async fn auth_config(
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
