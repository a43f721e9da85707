//! Named endpoints as tools: function descriptions for programs that choose among them.

pub(crate) mod by_provider;
pub(crate) mod by_service;
pub(crate) mod list;
pub(crate) mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use http::HeaderMap;
use latchkey_domain::states::ConnectionStatus;
use latchkey_providers::{Endpoint, Provider, Service};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::integrations::list_default;
use crate::{auth::Partner, reply::Result, state::Api};

/// A named endpoint as a function.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Tool {
    /// Always `function`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What a model is told.
    function: Function,
    /// What a program needs to make the call.
    metadata: Metadata,
}

/// A function's description.
#[derive(Clone, Serialize, ToSchema)]
struct Function {
    /// Its name, one in the whole catalogue.
    #[schema(example = "gmail_list_messages")]
    name: String,
    /// What it does.
    description: String,
    /// Its parameters, as JSON Schema.
    parameters: Value,
}

/// How a tool is called.
#[derive(Clone, Serialize, ToSchema)]
struct Metadata {
    /// The provider.
    #[schema(example = "google")]
    provider: String,
    /// The service of it.
    #[schema(example = "gmail")]
    service: String,
    /// The permission it needs.
    #[schema(example = "gmail.read")]
    permission: String,
    /// The method.
    #[schema(example = "GET")]
    method: String,
    /// The path: `{name}` is filled in; other arguments go into the query of GET and DELETE, else into the body.
    #[schema(example = "/api/v1/gmail/messages")]
    path: String,
    /// Whether the account can make this call now.
    connected: bool,
}

impl Tool {
    fn of(provider: &Provider, service: &Service, endpoint: &Endpoint, usable: &Usable) -> Self {
        Self {
            kind: "function",
            function: Function {
                name: provider.tool_name(service, endpoint),
                description: endpoint.sentence(provider, service),
                parameters: endpoint.schema(),
            },
            metadata: Metadata {
                provider: provider.slug.clone(),
                service: service.slug.clone(),
                permission: endpoint.permission.clone(),
                method: endpoint.method.clone(),
                path: provider.tool_path(service, endpoint),
                connected: usable.has(&provider.slug, &endpoint.permission),
            },
        }
    }
}

/// Provider and permission of what an account may call now.
struct Usable(BTreeSet<(String, String)>);

impl Usable {
    async fn by(api: &Api, partner: &Partner, headers: &HeaderMap) -> Result<Self> {
        let integrations = list_default::own(api, partner, headers).await?;
        let active = integrations
            .iter()
            .filter(|integration| integration.status == ConnectionStatus::Active);
        let all = active.flat_map(|integration| {
            let permissions = integration.enabled().into_iter();
            permissions.map(|permission| (integration.provider.clone(), permission))
        });
        Ok(Self(all.collect()))
    }

    fn has(&self, provider: &str, permission: &str) -> bool {
        self.0
            .contains(&(provider.to_owned(), permission.to_owned()))
    }
}

/// The tools of the catalogue that `wanted` picks, in its order.
async fn tools(
    api: &Api,
    partner: &Partner,
    headers: &HeaderMap,
    wanted: impl Fn(&Provider, &Service) -> bool,
) -> Result<Vec<Tool>> {
    let usable = Usable::by(api, partner, headers).await?;
    let mut tools = Vec::new();
    for provider in api.ctx.catalog.providers() {
        for service in &provider.services {
            if wanted(provider, service) {
                let of = |endpoint| Tool::of(provider, service, endpoint, &usable);
                tools.extend(service.endpoints.iter().map(of));
            }
        }
    }
    Ok(tools)
}

/// Tools and how many.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tools {
    /// The tools.
    tools: Vec<Tool>,
    /// How many.
    total: usize,
}

impl From<Vec<Tool>> for Tools {
    fn from(tools: Vec<Tool>) -> Self {
        Self {
            total: tools.len(),
            tools,
        }
    }
}
