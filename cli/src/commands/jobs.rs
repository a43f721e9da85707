//! `latchkey jobs …`: the operator finds, revives and stops jobs.

use std::fmt::Write as _;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    commands::partner::{Common, rows, segment},
    output,
};

/// Jobs asked for at once, at most: the API's own limit.
const PAGE: usize = 500;

const LIST: &str = "\
Examples:
  latchkey jobs list                        the newest 100
  latchkey jobs list --state dead           those that nothing more is tried for, with what went wrong
  latchkey jobs list --state queued --kind provider_call --partner prt_0199… --limit 1000 --json";
const RETRY: &str = "\
Examples:
  latchkey jobs retry job_0199…
  latchkey jobs list --state dead --json | jq -r .id | xargs latchkey jobs retry

A job that failed gets its attempts once more. A call whose request was sent and whose answer was lost is not
repeated.";
const CANCEL: &str = "\
Examples:
  latchkey jobs cancel job_0199…

Only calls are canceled, and only before they begin: what has begun cannot be undone.";

/// List, retry and cancel jobs, of all partners
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(List),
    Retry(Retry),
    Cancel(Cancel),
}

/// List jobs, the newest first, and what went wrong with those that failed
#[derive(Args, Debug)]
#[command(after_help = LIST)]
pub(crate) struct List {
    /// Only in this state: queued, running, completed, failed, dead or canceled
    #[arg(long)]
    state: Option<String>,
    /// Only of this kind: provider_call, refresh_grants, …
    #[arg(long)]
    kind: Option<String>,
    /// Only of this partner (prt_…)
    #[arg(long)]
    partner: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    common: Common,
}

/// Give failed jobs their attempts once more
#[derive(Args, Debug)]
#[command(after_help = RETRY)]
pub(crate) struct Retry {
    /// The jobs (job_…)
    #[arg(required = true)]
    jobs: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Stop jobs before they begin
#[derive(Args, Debug)]
#[command(after_help = CANCEL)]
pub(crate) struct Cancel {
    /// The jobs (job_…)
    #[arg(required = true)]
    jobs: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(arguments) => list(arguments).await,
        Command::Retry(Retry { jobs, common }) => each(&jobs, "retry", &common).await,
        Command::Cancel(Cancel { jobs, common }) => each(&jobs, "cancel", &common).await,
    }
}

async fn list(arguments: List) -> anyhow::Result<()> {
    let common = &arguments.common;
    let operator = common.open().await?;
    let (mut jobs, mut before) = (Vec::new(), None);
    let read = async {
        while jobs.len() < arguments.limit {
            let path = page(
                &arguments,
                PAGE.min(arguments.limit - jobs.len()),
                before.as_ref(),
            );
            let answer = operator.ask(Method::GET, &path, None).await?;
            jobs.extend(answer["jobs"].as_array().cloned().unwrap_or_default());
            match answer["next_before"].as_str() {
                Some(next) => before = Some(next.to_owned()),
                None => break,
            }
        }
        anyhow::Ok(())
    };
    let read = read.await;
    operator.close().await;
    read?;
    if common.json {
        return jobs.iter().try_for_each(output::json);
    }
    output::line(&table(&jobs))
}

/// The path of a page.
fn page(arguments: &List, limit: usize, before: Option<&String>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string());
    for (name, value) in [
        ("state", &arguments.state),
        ("kind", &arguments.kind),
        ("partner", &arguments.partner),
        ("before", &before.cloned()),
    ] {
        query.extend_pairs(value.iter().map(|value| (name, value)));
    }
    format!("jobs?{}", query.finish())
}

/// The jobs as a table; under those that did not end well, what happened.
fn table(jobs: &[Value]) -> String {
    if jobs.is_empty() {
        return "There are no such jobs.".to_owned();
    }
    let columns = [
        "id",
        "kind",
        "state",
        "attempts",
        "partner_id",
        "created_at",
        "error_code",
    ];
    let heading = [
        "ID",
        "KIND",
        "STATE",
        "ATTEMPTS",
        "PARTNER",
        "MADE",
        "LAST ERROR",
    ];
    let table = output::table(&heading, &rows(jobs, &columns));
    let mut lines = table.lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    for (line, job) in lines.zip(jobs) {
        text = text + "\n" + line;
        for noted in job["history"].as_array().into_iter().flatten() {
            let word = |name: &str| noted[name].as_str().unwrap_or_default().to_owned();
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n    attempt {} until {}: {} ({})",
                noted["attempt"],
                word("at"),
                word("code"),
                word("error")
            );
        }
    }
    text
}

/// Does the same to every job; what does not go does not keep the others from it.
async fn each(jobs: &[String], what: &str, common: &Common) -> anyhow::Result<()> {
    let operator = common.open().await?;
    let mut refused = Ok(());
    for job in jobs {
        let done = async {
            let path = format!("jobs/{}/{what}", segment(job)?);
            let answer = operator.ask(Method::POST, &path, Some(json!({}))).await?;
            if common.json {
                return output::json(&answer);
            }
            let state = answer["state"].as_str().unwrap_or_default();
            output::line(&format!("Job {job} is {state}."))
        };
        if let Err(error) = done.await {
            output::note(&format!("{job}: {error}"));
            refused = Err(error.context(format!("not every job could be {}", past(what))));
        }
    }
    operator.close().await;
    refused
}

fn past(what: &str) -> &'static str {
    if what == "retry" {
        "retried"
    } else {
        "canceled"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_stands_under_its_job() {
        let jobs = [
            json!({"id": "job_1", "kind": "provider_call", "state": "dead", "attempts": 3, "history": [
                {"attempt": 3, "at": "2026-11-21T20:00:00.000Z", "code": "WORKER_LOST", "error": "it ended"},
            ]}),
            json!({"id": "job_2", "kind": "revoke_grant", "state": "queued", "attempts": 0, "history": []}),
        ];
        let text = table(&jobs);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("job_1  provider_call  dead"), "{text}");
        assert_eq!(
            lines[2],
            "    attempt 3 until 2026-11-21T20:00:00.000Z: WORKER_LOST (it ended)"
        );
        assert!(lines[3].starts_with("job_2"), "{text}");
    }
}
