//! Connecting: the session, the pages that a browser walks through, and the integration in the end.

use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::Method;
use serde_json::{Value, json};

use super::text;
use crate::{
    demo::{
        browser::{Browser, Page},
        partner::Partner,
        report::Report,
        stage::Stage,
    },
    output,
};

/// How long a person may take to consent.
const PERSON: Duration = Duration::from_secs(600);
/// How long our own browser may take.
const MACHINE: Duration = Duration::from_secs(60);
/// Pages between the connect link and the partner's app: ours, the provider's, a waiting page or two.
const MAX_PAGES: usize = 60;
/// How long a page that refreshes itself is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A partner's account for one user.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Our id.
    pub(super) id: String,
    /// The partner's id.
    pub(super) external: String,
}

impl Account {
    /// Makes it.
    pub(crate) async fn make(partner: &Partner, external: &str) -> anyhow::Result<Self> {
        let body = json!({ "external_id": external });
        let made = partner
            .ask(Method::POST, "/api/v1/accounts", Some(&body))
            .await?;
        Ok(Self {
            id: text(&made["id"]),
            external: external.to_owned(),
        })
    }

    /// Its integration at a provider.
    pub(super) async fn integration(
        &self,
        partner: &Partner,
        provider: &str,
    ) -> anyhow::Result<Value> {
        let path = format!("/api/v1/accounts/{}/integrations", self.id);
        let mut all = partner.ask(Method::GET, &path, None).await?;
        let list = all["integrations"]
            .as_array_mut()
            .context("no list of integrations")?;
        let found = list
            .iter_mut()
            .find(|integration| integration["provider"] == provider);
        found
            .map(Value::take)
            .with_context(|| format!("{} has no integration with {provider}", self.external))
    }

    /// A session to connect it; the answer's data.
    async fn session(
        &self,
        stage: &Stage,
        partner: &Partner,
        provider: &str,
    ) -> anyhow::Result<Value> {
        let body = json!({ "provider": provider, "redirect_url": stage.app.url });
        let path = format!("/api/v1/accounts/{}/connect", self.id);
        partner.ask(Method::POST, &path, Some(&body)).await
    }

    /// Connects it without a word.
    pub(crate) async fn connect(
        &self,
        stage: &Stage,
        partner: &Partner,
        provider: &str,
    ) -> anyhow::Result<()> {
        let session = self.session(stage, partner, provider).await?;
        let mut browser = Browser::new(stage.http.clone());
        let link = text(&session["connect_url"])
            .parse()
            .context("connect_url")?;
        let mut page = browser.open(link).await?;
        for _ in 0..MAX_PAGES {
            if page.url.origin() == stage.app.url.origin() {
                let status = page.url.query_pairs().find(|(name, _)| name == "status");
                let ok = status.is_some_and(|(_, value)| value == "success");
                anyhow::ensure!(
                    ok,
                    "{} came back with {}",
                    self.external,
                    page.url.query().unwrap_or_default()
                );
                return Ok(());
            }
            page = next(&mut browser, &page, &self.external).await?;
        }
        bail!("{} is still at {}", self.external, page.named())
    }
}

/// Makes the account of the user whom the demo is about.
pub(super) async fn account(
    report: &mut Report,
    partner: &Partner,
    external: &str,
) -> anyhow::Result<Account> {
    let step = report.step(format!(
        "POST /api/v1/accounts {{external_id: \"{external}\"}}"
    ));
    let account = Account::make(partner, external).await?;
    report.end(step, &account.id)?;
    Ok(account)
}

/// Connects the account, a line for each page.
pub(super) async fn connect(
    stage: &Stage,
    report: &mut Report,
    partner: &Partner,
    provider: &str,
    account: &Account,
    person: bool,
) -> anyhow::Result<()> {
    let before = match &stage.sandbox {
        Some(sandbox) => sandbox.counters().await?,
        None => super::super::numbers::Counters::default(),
    };
    let step = report.step(format!(
        "POST /api/v1/accounts/…/connect {{provider: \"{provider}\"}}"
    ));
    let session = account.session(stage, partner, provider).await?;
    let (id, link) = (text(&session["session_id"]), text(&session["connect_url"]));
    report.end(step, format!("session {id}"))?;
    let step = if person {
        output::note(&format!(
            "\n    Open this in your browser and consent:\n\n    {link}\n"
        ));
        report.step("a person opens the link and consents")
    } else {
        pages(stage, report, account, &link).await?
    };
    let mut step = step;
    let landing = stage
        .app
        .landed(&id, if person { PERSON } else { MACHINE })
        .await?;
    let of = |name: &str| landing.get(name).cloned().unwrap_or_default();
    step.equal("status", "success", of("status"));
    step.equal("account_id", account.external.as_str(), of("account_id"));
    let path = format!("/api/v1/accounts/{}/connect/{id}", account.id);
    let after = partner.ask(Method::GET, &path, None).await?;
    step.equal("session", "completed", text(&after["status"]));
    if let Some(sandbox) = &stage.sandbox {
        let now = sandbox.counters().await?;
        step.equal(
            "codes exchanged at the sandbox",
            1,
            now.since(&before, "token_exchange"),
        );
    }
    report.end(
        step,
        format!("back at the partner: status={}", of("status")),
    )?;

    let mut step = report.step("GET /api/v1/accounts/…/integrations");
    let integration = account.integration(partner, provider).await?;
    step.equal("status", "active", text(&integration["status"]));
    report.end(
        step,
        format!("{provider} as {}", text(&integration["account_label"])),
    )
}

/// Walks to the consent page with our own browser; gives the step of the last press, which is not over yet.
async fn pages(
    stage: &Stage,
    report: &mut Report,
    account: &Account,
    link: &str,
) -> anyhow::Result<super::super::report::Step> {
    let mut browser = Browser::new(stage.http.clone());
    let step = report.step("the browser opens the connect link");
    let mut page = browser.open(link.parse().context("connect_url")?).await?;
    report.end(step, page.named())?;
    let step = report.step("it goes on to the provider");
    page = next(&mut browser, &page, &account.external).await?;
    report.end(step, page.named())?;
    let step = report.step(format!(
        "{} presses Allow; callback, exchange, redirect",
        account.external
    ));
    for _ in 0..MAX_PAGES {
        if page.url.origin() == stage.app.url.origin() {
            return Ok(step);
        }
        page = next(&mut browser, &page, &account.external).await?;
    }
    bail!("the browser is still at {}", page.named())
}

/// Goes on from a page as its user would: consents, presses the only button, or waits for the page to change.
async fn next(browser: &mut Browser, page: &Page, user: &str) -> anyhow::Result<Page> {
    if let Some(to) = page.refresh() {
        tokio::time::sleep(LOOK).await;
        return browser.open(to).await;
    }
    let form = page.form()?;
    let asks = form.fields.iter().any(|(name, _)| name == "user");
    let allow = form
        .buttons
        .iter()
        .find(|(_, value)| value == "allow")
        .or(form.buttons.first());
    let allow = allow.map(|(_, value)| value.clone());
    let fill = if asks {
        vec![("user", user)]
    } else {
        Vec::new()
    };
    browser.submit(page, form, allow.as_deref(), &fill).await
}
