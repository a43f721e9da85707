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
use latchkey_runtime::{Config, Context};
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
/// The first page, as the API asks for it: one row more tells whether another follows.
const FIRST: ListingPage = ListingPage {
    order: ListingOrder::Created,
    ascending: false,
    after: None,
    limit: PAGE + 1,
};
/// From one measured place in the list to the next; a prime, so that all places come up.
const STRIDE: u32 = 7919;
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
    let context = fleet.context(&config, directory).await?;
    let list = List::fill(arguments.rows, fleet.store().await?, &context).await?;
    let (mut worst, mut worst_anywhere): (f64, f64) = (0.0, 0.0);
    let [mut medians, mut slowest, mut anywhere, mut plans] =
        std::array::from_fn(|_| serde_json::Map::new());
    for case in cases(&list.filled)? {
        note(&format!("{} …", case.name));
        let waits = list.pages(&case.query, arguments.pages).await?;
        let p99 = of_100(&waits);
        worst = worst.max(p99);
        let found = of_100(&list.anywhere(&case.filter, arguments.pages).await?);
        worst_anywhere = worst_anywhere.max(found);
        let median = milliseconds(waits[waits.len() / 2]);
        let most = milliseconds(waits[waits.len() - 1]);
        let meaning = format!(
            "ms, the 99th of 100 (median {median:.2}, the slowest {most:.0}; anywhere in the list, by the store \
             alone, {found:.2})"
        );
        report.figure(case.name, p99, meaning);
        let name = case.name.to_owned();
        medians.insert(name.clone(), median.into());
        slowest.insert(name.clone(), most.into());
        anywhere.insert(name.clone(), found.into());
        plans.insert(name, list.plan(&case.filter).await?);
    }
    let of_all = "ms, the 99th of 100 by the slowest filter";
    report.measured("worst_p99_ms", worst, Bar::AtMost(20.0), of_all);
    let of_store =
        "ms, the same of pages anywhere in the list, which the store alone finds and reads";
    let bar = Bar::AtMost(20.0);
    report.measured("worst_anywhere_p99_ms", worst_anywhere, bar, of_store);
    for (name, figures) in [
        ("median_ms", medians),
        ("slowest_ms", slowest),
        ("anywhere_p99_ms", anywhere),
        ("indexes", plans),
    ] {
        report.fact(name, Value::Object(figures));
    }
    context.store.close().await;
    list.store.close().await;
    Ok(())
}

/// A large list, and the two ways it is read.
struct List {
    filled: Filled,
    store: Store,
    routes: Router,
    partner: PartnerId,
    key: String,
    clock: Arc<dyn Clock>,
}

impl List {
    async fn fill(rows: u32, store: Store, context: &Context) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (routes, admin) = latchkey_api::routers(context.clone());
        let body =
            json!({"company": "Bench", "website": "https://bench.example", "plan": "enterprise"});
        let token = &context.operator_token;
        let (status, made) =
            operator::here(&admin, token, Method::POST, "partners", Some(body)).await?;
        let made = operator::understood(status, made)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let partner: PartnerId = text(&made["partner"]["id"]).parse()?;
        note(&format!("Filling the list with {rows} connections …"));
        let progress = |done| note(&format!("{done} of {rows} connections are there …"));
        let filled = store.fill_listing(partner, rows, clock.now(), progress);
        Ok(Self {
            filled: filled.await?,
            store,
            routes,
            partner,
            key: text(&made["api_key"]["key"]),
            clock,
        })
    }

    /// How long each page took, the shortest first. Pages follow the cursor, and begin again at the end.
    async fn pages(&self, query: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
        let (mut waits, mut cursor) = (Vec::with_capacity(count), String::new());
        for _ in 0..count {
            let request = Request::get(format!(
                "/api/v1/connected_accounts?limit={PAGE}{query}{cursor}"
            ))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Body::empty())?;
            let begun = self.clock.monotonic();
            let answer = self.routes.clone().oneshot(request).await?;
            let status = answer.status();
            let body = axum::body::to_bytes(answer.into_body(), ANSWER_MAX).await?;
            waits.push(self.clock.monotonic().saturating_sub(begun));
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

    /// How long the store took to find and read pages that begin all over the list, the shortest first.
    async fn anywhere(
        &self,
        filter: &ListingFilter,
        count: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let parts = u32::try_from(count)?;
        let mut waits = Vec::with_capacity(count);
        for n in 0..parts {
            let page = ListingPage {
                // Not one after the other: what one page read would be at hand for the next.
                after: Some(self.filled.at(n.wrapping_mul(STRIDE) % parts, parts)),
                ..FIRST
            };
            let (partner, now) = (self.partner, self.clock.now());
            let begun = self.clock.monotonic();
            let keys = self.store.list_listed(partner, filter, &page, now).await?;
            let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
            self.store.read_listed(partner, &ids).await?;
            waits.push(self.clock.monotonic().saturating_sub(begun));
        }
        waits.sort_unstable();
        Ok(waits)
    }

    /// The scans of the plan that finds a page.
    async fn plan(&self, filter: &ListingFilter) -> anyhow::Result<Value> {
        let now = self.clock.now();
        let lines = self
            .store
            .explain_listing(self.partner, filter, &FIRST, now)
            .await?;
        let scans = lines.iter().filter(|line| line.contains("Scan"));
        let scans = scans.map(|line| line.trim().trim_start_matches("-> ").trim().to_owned());
        Ok(scans.collect::<Vec<_>>().into())
    }
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

/// The 99th of 100 of sorted waits, in milliseconds.
fn of_100(waits: &[Duration]) -> f64 {
    milliseconds(waits[(waits.len() * 99 / 100).min(waits.len() - 1)])
}

fn milliseconds(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}
