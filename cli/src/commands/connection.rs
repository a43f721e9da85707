//! `latchkey connection …`: what a connection is, why, and what happens next.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    commands::partner::{Common, rows, segment},
    output,
};

const SHOW: &str = "\
Examples:
  latchkey connection show prt_0199… 019aa000-…
  latchkey connection show prt_0199… 019aa000-… --json

The connection's id is the integration's. No token is shown, here or anywhere.";

/// Show a connection
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Show(Show),
}

/// Show what a connection is, since when, why, what happens next, and its latest refreshes
#[derive(Args, Debug)]
#[command(after_help = SHOW)]
pub(crate) struct Show {
    /// The partner's id (prt_…)
    partner: String,
    /// The connection's id
    connection: String,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Show(Show {
        partner,
        connection,
        common,
    }) = command;
    let (partner, connection) = (segment(&partner)?, segment(&connection)?);
    let path = format!("partners/{partner}/connections/{connection}");
    let shown = common.ask(Method::GET, &path, None).await?;
    if common.json {
        return output::json(&shown);
    }
    output::line(&text(&shown))
}

fn text(shown: &Value) -> String {
    let word = |name: &str| shown[name].as_str().unwrap_or("–").to_owned();
    let warning = shown["warning"].as_str();
    let warning = warning.map_or_else(String::new, |text| format!("Warning: {text}\n"));
    let head = format!(
        "{}\n{warning}\n{} of {} at {}, {} since {}\n",
        word("explanation"),
        word("id"),
        word("account_label"),
        word("provider"),
        word("status"),
        word("since")
    );
    let facts = [
        ("reason", "reason"),
        ("connected_at", "connected"),
        ("last_refreshed_at", "last refresh"),
        ("next_refresh_at", "next refresh"),
        ("expires_at", "access token ends"),
        ("dies_at", "dies unless refreshed"),
    ];
    let facts = facts.map(|(name, label)| format!("  {label:<22}  {}\n", word(name)));
    let text = head + &facts.concat();
    let refreshes = shown["refreshes"].as_array().cloned().unwrap_or_default();
    if refreshes.is_empty() {
        return text + "\nNot refreshed yet.";
    }
    let columns = [
        "at",
        "from_version",
        "to_version",
        "outcome",
        "took_ms",
        "failure",
    ];
    let heading = ["ENDED", "FROM", "TO", "OUTCOME", "MS", "FAILURE"];
    text + "\n" + &output::table(&heading, &rows(&refreshes, &columns))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_warning_stands_behind_the_explanation() {
        let mut shown =
            json!({"explanation": "Active.", "id": "1", "provider": "acme", "status": "active"});
        assert!(text(&shown).starts_with("Active.\n\n1 of – at acme"));
        shown["warning"] = "too many".into();
        assert!(text(&shown).starts_with("Active.\nWarning: too many\n\n1 of"));
    }
}
