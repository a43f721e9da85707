//! `latchkey provider list`.

use clap::Args;
use latchkey_providers::Provider;
use serde_json::{Value, json};

use super::Files;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  latchkey provider list
  latchkey provider list --json | jq -r .slug";

/// List every provider of the catalogue
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print one JSON object per provider
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let catalog = arguments.files.load()?;
    if arguments.json {
        return catalog
            .providers()
            .try_for_each(|provider| output::json(&line(provider)));
    }
    let rows: Vec<_> = catalog.providers().map(row).collect();
    let heading = ["provider", "name", "services", "endpoints", "unsure fields"];
    output::line(&output::table(&heading, &rows))
}

fn services(provider: &Provider) -> Vec<&str> {
    provider
        .services
        .iter()
        .map(|service| service.slug.as_str())
        .collect()
}

fn endpoints(provider: &Provider) -> usize {
    provider
        .services
        .iter()
        .map(|service| service.endpoints.len())
        .sum()
}

fn line(provider: &Provider) -> Value {
    json!({
        "slug": provider.slug,
        "name": provider.display_name,
        "services": services(provider),
        "endpoints": endpoints(provider),
        "unsure": provider.unsure,
        "verified_at": provider.verified_at,
    })
}

fn row(provider: &Provider) -> Vec<String> {
    vec![
        provider.slug.clone(),
        provider.display_name.clone(),
        services(provider).join(" "),
        endpoints(provider).to_string(),
        provider.unsure.len().to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use latchkey_providers::Catalog;

    use super::*;

    #[test]
    fn a_line_says_what_there_is() {
        let catalog = Catalog::load(None).unwrap();
        assert_eq!(catalog.providers().count(), 29);
        let google = catalog.get("google").unwrap();
        assert_eq!(line(google)["services"][0], "gmail");
        assert_eq!(row(google)[2], "gmail calendar drive docs sheets slides");
    }
}
