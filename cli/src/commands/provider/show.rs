//! `latchkey provider show`.

use std::fmt::Write;

use clap::Args;
use latchkey_oauth::spec::Evicts;
use latchkey_providers::{Param, Provider};
use serde_json::{Value, json};

use super::Files;
use crate::output::{self, Paint};

const EXAMPLES: &str = "\
Examples:
  latchkey provider show slack
  latchkey provider show ./providers/acme.toml --json";

/// Show what the catalogue says of a provider: what it asks for, its scopes, its named endpoints
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A slug, or a .toml file
    provider: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let provider = super::entry(&arguments.files, &arguments.provider)?;
    if arguments.json {
        return output::json(&object(&provider));
    }
    output::line(&text(&provider, Paint::stdout()))
}

fn params(params: &[Param]) -> Vec<Value> {
    let object = |param: &Param| {
        json!({"name": param.name, "label": param.label, "default": param.default,
            "required": param.default.is_none()})
    };
    params.iter().map(object).collect()
}

fn object(provider: &Provider) -> Value {
    let services = provider.services.iter().map(|service| {
        let permissions = service.permissions.iter().map(|permission| {
            json!({"id": permission.id, "default": permission.default, "scopes": permission.scopes})
        });
        let endpoints = service.endpoints.iter().map(|endpoint| {
            json!({"name": endpoint.name, "method": endpoint.method, "permission": endpoint.permission,
                "path": format!("/api/v1/{}/{}{}", provider.slug, service.slug, endpoint.path)})
        });
        json!({"slug": service.slug, "permissions": permissions.collect::<Vec<_>>(),
            "endpoints": endpoints.collect::<Vec<_>>()})
    });
    let kinds = provider.app_kinds.iter().map(|kind| &kind.name);
    json!({
        "slug": provider.slug,
        "name": provider.display_name,
        "doc_url": provider.doc_url,
        "verified_at": provider.verified_at,
        "unsure": provider.unsure,
        "app_kinds": kinds.collect::<Vec<_>>(),
        "app_params": params(&provider.app_params),
        "connection_params": params(&provider.connection_params),
        "base_scopes": provider.base_scopes,
        "good_to_know": limits(provider),
        "services": services.collect::<Vec<_>>(),
    })
}

/// What a user or an operator meets sooner or later: how long a code waits, how many grants live side by side.
fn limits(provider: &Provider) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(life) = provider.oauth.token.code_ttl_s {
        told.push(format!("a consent must be confirmed within {life} s"));
    }
    if let Some(most) = provider.oauth.lifetimes.max_live_grants {
        let gone = match most.evicts {
            Evicts::Oldest => "the oldest",
            Evicts::Any => "one of them",
        };
        let count = most.count;
        told.push(format!(
            "one user's grants beyond {count} end {gone}, without a word"
        ));
    }
    told
}

fn text(provider: &Provider, paint: Paint) -> String {
    let mut out = format!(
        "{} ({})\n",
        paint.bold(&provider.display_name),
        provider.slug
    );
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<12} {value}");
        }
    };
    line(
        "documented",
        provider.doc_url.as_deref().unwrap_or_default(),
    );
    line(
        "compared",
        provider.verified_at.as_deref().unwrap_or_default(),
    );
    line("unsure", &provider.unsure.join(", "));
    line("good to know", &limits(provider).join("; "));
    for (name, params) in [
        ("an app needs", &provider.app_params),
        ("users give", &provider.connection_params),
    ] {
        let all = params
            .iter()
            .map(|param| format!("{}: {}", param.name, param.label));
        line(name, &all.collect::<Vec<_>>().join("; "));
    }
    for service in &provider.services {
        let _ = writeln!(out, "\n  {}", paint.bold(&service.slug));
        for permission in &service.permissions {
            let usual = if permission.default {
                "asked for unless said"
            } else {
                ""
            };
            let _ = writeln!(out, "    {:<28} {}", permission.id, paint.dim(usual));
        }
        for endpoint in &service.endpoints {
            let _ = writeln!(out, "    {:<6} {}", endpoint.method, endpoint.path);
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use latchkey_providers::Catalog;

    use super::*;

    #[test]
    fn what_is_unsure_is_shown_as_such() {
        let catalog = Catalog::load(None).unwrap();
        let shown = text(catalog.get("hubspot").unwrap(), Paint::plain());
        for part in [
            "HubSpot (hubspot)",
            "unsure       oauth.rotation.mode",
            "hubspot.deals.read",
            "GET    /deals",
        ] {
            assert!(shown.contains(part), "no '{part}' in {shown}");
        }
        let x = object(catalog.get("twitter").unwrap());
        assert_eq!(
            x["good_to_know"],
            json!(["a consent must be confirmed within 30 s"])
        );
        let shown = text(catalog.get("github").unwrap(), Paint::plain());
        assert!(
            shown.contains("one user's grants beyond 10 end one of them"),
            "{shown}"
        );
        let shopify = object(catalog.get("shopify").unwrap());
        assert_eq!(shopify["connection_params"][0]["required"], true);
        assert_eq!(
            shopify["services"][0]["endpoints"][0]["path"],
            "/api/v1/shopify/admin/products"
        );
    }
}
