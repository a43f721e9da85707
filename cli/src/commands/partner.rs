//! `latchkey partner …`: the operator makes, lists, suspends and resumes partners.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{failure::asked_wrongly, operator::Operator, output, settings::Place};

/// Partners asked for at once.
const PAGE: usize = 500;

const CREATE: &str = "\
Examples:
  latchkey partner create --company Acme --website https://acme.example \\
      --redirect-url http://localhost:3000/connected
  latchkey partner create --company Acme --website https://acme.example --plan pro --json";
const LIST: &str = "\
Examples:
  latchkey partner list
  latchkey partner list --json";
const SUSPEND: &str = "\
Examples:
  latchkey partner suspend prt_0199…

Every request with its keys answers 403 at once; its grants are kept and kept fresh.";
const RESUME: &str = "\
Examples:
  latchkey partner resume prt_0199…";

/// Make, list, suspend and resume partners
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Suspend(One),
    Resume(Resume),
}

/// Make a partner and its first key; the key is shown this once
#[derive(Args, Debug)]
#[command(after_help = CREATE)]
pub(crate) struct Create {
    /// The company, at most 255 characters
    #[arg(long)]
    company: String,
    /// Its website
    #[arg(long, value_name = "URL")]
    website: String,
    /// Whom to write to
    #[arg(long, value_name = "EMAIL")]
    contact_email: Option<String>,
    /// What it builds, at most 1,000 characters
    #[arg(long, value_name = "TEXT")]
    use_case: Option<String>,
    /// A plan of the settings
    #[arg(long, default_value = "free")]
    plan: String,
    /// Where its users may come back to after connecting; repeat for several
    #[arg(long = "redirect-url", value_name = "URL")]
    redirect_urls: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// List the partners
#[derive(Args, Debug)]
#[command(after_help = LIST)]
pub(crate) struct List {
    #[command(flatten)]
    common: Common,
}

/// Stop a partner: its keys answer 403
#[derive(Args, Debug)]
#[command(after_help = SUSPEND)]
pub(crate) struct One {
    /// The partner's id (prt_…)
    partner: String,
    #[command(flatten)]
    common: Common,
}

/// Let a suspended partner go on
#[derive(Args, Debug)]
#[command(after_help = RESUME)]
pub(crate) struct Resume {
    /// The partner's id (prt_…)
    partner: String,
    #[command(flatten)]
    common: Common,
}

/// What every command of the operator takes.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Print JSON: one object, or one per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    place: Place,
}

impl Common {
    /// The operator's side of the data directory.
    pub(crate) async fn open(&self) -> anyhow::Result<Operator> {
        Operator::open(self.place.load(&[])?).await
    }

    /// Asks the operator's side once.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let operator = self.open().await?;
        let answer = operator.ask(method, path, body).await;
        operator.close().await;
        answer
    }
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(create) => make(create).await,
        Command::List(List { common }) => list(&common).await,
        Command::Suspend(One { partner, common }) => set(&common, &partner, "suspended").await,
        Command::Resume(Resume { partner, common }) => set(&common, &partner, "active").await,
    }
}

async fn make(create: Create) -> anyhow::Result<()> {
    let Create {
        company,
        website,
        contact_email,
        use_case,
        plan,
        redirect_urls,
        common,
    } = create;
    let body = json!({
        "company": company,
        "website": website,
        "contact_email": contact_email,
        "use_case": use_case,
        "plan": plan,
        "redirect_urls": redirect_urls,
    });
    let made = common
        .ask(Method::POST, "partners", Some(without_nulls(body)))
        .await?;
    let (partner, key) = (&made["partner"], &made["api_key"]);
    if common.json {
        return output::json(&json!({
            "partner_id": partner["id"], "key": key["key"], "key_id": key["id"], "partner": partner,
        }));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    output::line(&format!(
        "Partner  {}  {company}, plan {plan}\nKey      {}\n",
        text(&partner["id"]),
        text(&key["key"])
    ))?;
    output::note("The key is shown this once: only its hash is kept.");
    if redirect_urls.is_empty() {
        output::note(
            "No redirect URL is registered yet, so nobody can connect. The partner sets its list with\n\
             PUT /api/v1/partner/redirect_urls.",
        );
    }
    output::note(
        "Warning: connections complete without the partner's confirmation. Whoever opens somebody else's\n\
         connect link can attach their own account to it; a partner whose users could be tricked so sets\n\
         \"confirmation\": \"partner\" (PATCH /api/v1/partner).",
    );
    Ok(())
}

async fn list(common: &Common) -> anyhow::Result<()> {
    let mut partners = Vec::new();
    let operator = common.open().await?;
    let mut path = format!("partners?limit={PAGE}");
    loop {
        let page = operator.ask(Method::GET, &path, None).await?;
        partners.extend(page["partners"].as_array().cloned().unwrap_or_default());
        match page["next_after"].as_str() {
            Some(after) => path = format!("partners?limit={PAGE}&after={after}"),
            None => break,
        }
    }
    operator.close().await;
    if common.json {
        return partners.iter().try_for_each(output::json);
    }
    if partners.is_empty() {
        return output::line("There are no partners yet: latchkey partner create --help");
    }
    let columns = ["id", "company", "plan", "status", "created_at"];
    output::line(&output::table(
        &["ID", "COMPANY", "PLAN", "STATUS", "MADE"],
        &rows(&partners, &columns),
    ))
}

async fn set(common: &Common, partner: &str, status: &str) -> anyhow::Result<()> {
    let path = format!("partners/{}", segment(partner)?);
    let answer = common
        .ask(Method::PATCH, &path, Some(json!({ "status": status })))
        .await?;
    if common.json {
        return output::json(&answer);
    }
    output::line(&format!("Partner {partner} is {status}."))
}

/// These members of each object, as cells.
pub(crate) fn rows(objects: &[Value], members: &[&str]) -> Vec<Vec<String>> {
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    objects
        .iter()
        .map(|object| members.iter().map(|name| cell(&object[*name])).collect())
        .collect()
}

/// An id as a segment of a path.
pub(crate) fn segment(id: &str) -> anyhow::Result<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if id.is_empty() || !id.bytes().all(plain) {
        return Err(asked_wrongly(format!("'{id}' is no id")));
    }
    Ok(id)
}

/// What was not given is left out: the operator's routes tell absent from empty.
pub(crate) fn without_nulls(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}
