//! `latchkey bench list`: pages of a large list of connected accounts, through the API's own routes on PostgreSQL.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::ensure;
use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use clap::Args;
use latchkey_domain::{Clock, PartnerId, SystemClock};
use latchkey_runtime::Config;
use latchkey_store::{Filled, ListingFilter, ListingOrder, ListingPage, Standing, Store};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    bench::{Bar, Report, fleet::Fleet},
    operator,
    output::note,
    settings::Place,
};

const EXAMPLES: &str = "\
Examples:
  latchkey bench list
  latchkey bench list --json --rows 1000000
  DATABASE_URL=postgres://… REDIS_URL=redis://… latchkey bench list      on servers of yours, which must be empty";

/// Accounts on a page.
const PAGE: u32 = 50;
/// The largest answer read: a page has some 70 KiB.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Measure how fast a page of a large list of connected accounts is, by any one filter
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Connections in the list
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows: u32,
    /// Pages read with each filter
    #[arg(long, value_name = "N", default_value_t = 500)]
    pages: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// A filter: its figure's name, its parameters, and what the store is asked.
struct Case {
    name: &'static str,
    query: String,
    filter: ListingFilter,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(
        arguments.pages > 0 && arguments.rows >= 1000,
        "ask for 1 page and 1,000 rows at least"
    );
    let config = arguments.place.load(&[])?;
    let fleet = Fleet::find(&config).await?;
    let mut report = Report::begin("list");
    report.fact("rows", arguments.rows);
    report.fact("pages_each", arguments.pages);
    report.fact("servers", fleet.kind());
    let directory = tempfile::tempdir()?;
    measure(&arguments, config, &fleet, directory.path(), &mut report).await?;
    report.print(arguments.json)
}

async fn measure(
    arguments: &Arguments,
    config: Config,
    fleet: &Fleet,
    directory: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let store = fleet.store().await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let context = fleet.context(&config, directory).await?;
    let (routes, admin) = latchkey_api::routers(context.clone());
    let body =
        json!({"company": "Bench", "website": "https://bench.example", "plan": "enterprise"});
    let token = &context.operator_token;
    let (status, made) =
        operator::here(&admin, token, Method::POST, "partners", Some(body)).await?;
    let made = operator::understood(status, made)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (partner, key) = (text(&made["partner"]["id"]), text(&made["api_key"]["key"]));
    let partner: PartnerId = partner.parse()?;
    note(&format!(
        "Filling the list with {} connections …",
        arguments.rows
    ));
    let filled = store
        .fill_listing(partner, arguments.rows, clock.now())
        .await?;
    let mut worst: f64 = 0.0;
    let mut plans = serde_json::Map::new();
    for case in cases(&filled)? {
        note(&format!("{} …", case.name));
        let waits = pages(&routes, &key, &case.query, arguments.pages, &*clock).await?;
        let p99 = milliseconds(waits[(waits.len() * 99 / 100).min(waits.len() - 1)]);
        worst = worst.max(p99);
        let median = milliseconds(waits[waits.len() / 2]);
        report.figure(
            case.name,
            p99,
            format!("ms, the 99th of 100 (median {median:.2})"),
        );
        plans.insert(
            case.name.to_owned(),
            plan(&store, partner, &case.filter, &*clock).await?,
        );
    }
    report.measured(
        "worst_p99_ms",
        worst,
        Bar::AtMost(20.0),
        "ms, the 99th of 100 by the slowest filter",
    );
    report.fact("indexes", Value::Object(plans));
    context.store.close().await;
    store.close().await;
    Ok(())
}

fn cases(filled: &Filled) -> anyhow::Result<Vec<Case>> {
    let every = ListingFilter::default;
    let stands = |standings: &[Standing]| ListingFilter {
        standings: Some(standings.to_vec()),
        ..every()
    };
    let toolkit = |name: &str| ListingFilter {
        toolkits: Some(vec![name.to_owned()]),
        ..every()
    };
    let case = |name, query: &str, filter| Case {
        name,
        query: query.to_owned(),
        filter,
    };
    let (config, label) = (&filled.config, &filled.label);
    Ok(vec![
        case("no_filter_p99_ms", "", every()),
        case("toolkit_p99_ms", "&toolkitSlugs=gmail", toolkit("gmail")),
        case("rare_toolkit_p99_ms", "&toolkitSlugs=rare", toolkit("rare")),
        case(
            "status_active_p99_ms",
            "&statuses=ACTIVE",
            stands(&[Standing::Active]),
        ),
        case(
            "status_inactive_p99_ms",
            "&statuses=INACTIVE",
            stands(&[Standing::Paused]),
        ),
        case(
            "status_revoked_p99_ms",
            "&statuses=REVOKED",
            stands(&[Standing::Lost]),
        ),
        case(
            "status_expired_p99_ms",
            "&statuses=EXPIRED",
            stands(&[Standing::LinkExpired, Standing::Ended, Standing::NeedsUser]),
        ),
        case(
            "external_user_p99_ms",
            "&eUIDs=user-50",
            ListingFilter {
                accounts: Some(vec![filled.account.parse()?]),
                ..every()
            },
        ),
        case(
            "auth_config_p99_ms",
            &format!("&authConfigIds={config}"),
            ListingFilter {
                configs: Some(vec![config.parse()?]),
                ..every()
            },
        ),
        case(
            "label_p99_ms",
            &format!("&labels={}", label.replace('@', "%40")),
            ListingFilter {
                labels: Some(vec![label.clone()]),
                ..every()
            },
        ),
    ])
}

/// How long each page took, the shortest first. Pages follow the cursor, and begin again at the end.
async fn pages(
    routes: &Router,
    key: &str,
    query: &str,
    count: usize,
    clock: &dyn Clock,
) -> anyhow::Result<Vec<Duration>> {
    let (mut waits, mut cursor) = (Vec::with_capacity(count), String::new());
    for _ in 0..count {
        let request = Request::get(format!(
            "/api/v1/connected_accounts?limit={PAGE}{query}{cursor}"
        ))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(Body::empty())?;
        let begun = clock.monotonic();
        let answer = routes.clone().oneshot(request).await?;
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), ANSWER_MAX).await?;
        waits.push(clock.monotonic().saturating_sub(begun));
        let answer: Value = serde_json::from_slice(&body)?;
        ensure!(status.is_success(), "the list answered {status}: {answer}");
        let found = answer["items"].as_array().map_or(0, Vec::len);
        ensure!(found > 0, "{query} found nothing: {answer}");
        cursor = answer["nextCursor"]
            .as_str()
            .map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    waits.sort_unstable();
    Ok(waits)
}

/// The scans of the plan that finds a page.
async fn plan(
    store: &Store,
    partner: PartnerId,
    filter: &ListingFilter,
    clock: &dyn Clock,
) -> anyhow::Result<Value> {
    let page = ListingPage {
        order: ListingOrder::Created,
        ascending: false,
        after: None,
        limit: PAGE + 1,
    };
    let lines = store
        .explain_listing(partner, filter, &page, clock.now())
        .await?;
    let scans = lines.iter().filter(|line| line.contains("Scan"));
    let scans = scans.map(|line| line.trim().trim_start_matches("-> ").trim().to_owned());
    Ok(scans.collect::<Vec<_>>().into())
}

fn milliseconds(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}
