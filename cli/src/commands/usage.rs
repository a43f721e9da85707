//! `latchkey usage …`: what partners used, from the ledger.

use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    commands::partner::{Common, rows, without_nulls},
    output::{self, note},
};

const EXPORT: &str = "\
Examples:
  latchkey usage export --period 2026-11 --format csv > november.csv
  latchkey usage export --format json";
const REBUILD: &str = "\
Examples:
  latchkey usage rebuild --period 2026-11

The roll-ups are a pure function of the receipts: however often they are rebuilt, the rows are the same.";

/// The columns of an export.
const COLUMNS: [&str; 8] = [
    "partner_id",
    "plan",
    "provider",
    "service",
    "calls",
    "billed",
    "bytes_in",
    "bytes_out",
];

/// Export what partners used, and compute it anew
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Export(Export),
    Rebuild(Rebuild),
}

/// Print a month's usage of all partners, by provider and service
#[derive(Args, Debug)]
#[command(after_help = EXPORT)]
pub(crate) struct Export {
    /// A UTC calendar month such as 2026-11 [default: this one]
    #[arg(long, value_name = "MONTH")]
    period: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// RFC 4180, with a heading
    Csv,
    /// One JSON object a line
    Json,
}

/// Compute a month's roll-ups anew from the receipts
#[derive(Args, Debug)]
#[command(after_help = REBUILD)]
pub(crate) struct Rebuild {
    /// A UTC calendar month such as 2026-11 [default: this one]
    #[arg(long, value_name = "MONTH")]
    period: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Export(export) => print(export).await,
        Command::Rebuild(rebuild) => again(rebuild).await,
    }
}

async fn print(export: Export) -> anyhow::Result<()> {
    let is_csv = export.format == Format::Csv && !export.common.json;
    let operator = export.common.open().await?;
    if is_csv {
        output::line(&csv(&COLUMNS.map(str::to_owned)))?;
    }
    let mut after = Value::Null;
    loop {
        let query = without_nulls(json!({ "period": export.period, "after": after }));
        let path = format!("usage?{}", encoded(&query));
        let page = operator.ask(Method::GET, &path, None).await?;
        let lines = page["lines"].as_array().cloned().unwrap_or_default();
        if is_csv {
            for row in rows(&lines, &COLUMNS) {
                output::line(&csv(&row))?;
            }
        } else {
            lines.iter().try_for_each(output::json)?;
        }
        after = page["next_after"].clone();
        if after.is_null() {
            return Ok(());
        }
    }
}

/// A query of texts.
fn encoded(query: &Value) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.as_object().into_iter().flatten() {
        pairs.append_pair(name, value.as_str().unwrap_or_default());
    }
    pairs.finish()
}

/// A record of RFC 4180, without its line's end.
fn csv(fields: &[String]) -> String {
    let quoted = fields.iter().map(|field| {
        if field.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

async fn again(rebuild: Rebuild) -> anyhow::Result<()> {
    let operator = rebuild.common.open().await?;
    let (mut after, mut partners, mut hours) = (Value::Null, 0, 0);
    loop {
        let body = without_nulls(json!({ "period": rebuild.period, "after": after }));
        let page = operator
            .ask(Method::POST, "usage/rebuild", Some(body))
            .await?;
        partners += page["partners"].as_u64().unwrap_or_default();
        hours += page["hours"].as_u64().unwrap_or_default();
        after = page["next_after"].clone();
        if !after.is_null() {
            note(&format!("{partners} partners, {hours} hours …"));
            continue;
        }
        if rebuild.common.json {
            return output::json(&json!({
                "period": page["period"], "partners": partners, "hours": hours,
            }));
        }
        let period = page["period"].as_str().unwrap_or_default();
        return output::line(&format!(
            "{period}: {hours} hours of {partners} partners are computed anew from their receipts."
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        let fields = ["a", "b,c", "d\"e"].map(str::to_owned);
        assert_eq!(csv(&fields), r#"a,"b,c","d""e""#);
    }
}
