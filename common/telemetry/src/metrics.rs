//! Every metric of Latchkey: its name, help text and labels, and the one method that feeds it. Dashboards
//! and alerts are written against these names, so a name that changes is a breaking change.
//!
//! Each [`Metrics`] has a registry of its own, so that several servers can run in one process. Clones share
//! it. Times are in seconds, as Prometheus wants them.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use latchkey_domain::{refresh::DeadReason, states::CallOutcome};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use crate::labels::{Bounded, HttpStatus, JobEnd, RefreshOutcome, TaskEnd, ThrottleScope};

/// Buckets of what takes milliseconds to a minute: requests, commits, provider calls, runs of a job.
const QUICK: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Buckets of refreshes, fine enough to read percentiles of: from 1 ms to a minute.
const FINE: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1,
    0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Buckets of waits, which a backlog stretches to hours.
const WAITS: &[f64] = &[
    0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0,
];
/// Buckets of how long an access token still had to live when its successor landed.
const LEADS: &[f64] = &[
    0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 150.0, 300.0, 600.0, 1200.0, 3600.0,
];
/// Buckets of rows in one commit; a group holds up to 500.
const ROWS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// One line a metric: field, type, name, labels, buckets, help text.
macro_rules! metrics {
    ($($field:ident: $type:ty = $name:literal [$($label:literal),*] $($buckets:ident)?, $help:literal;)+) => {
        /// The name of every metric, without the endings that histograms add.
        pub const NAMES: &[&str] = &[$($name),+];

        #[derive(Clone)]
        struct All { $($field: $type),+ }

        impl All {
            fn new(registry: &Registry) -> prometheus::Result<Self> {
                let all = Self {
                    $($field: Metric::build(
                        $name, $help, &[$($label),*], None$(.or(Some($buckets)))?,
                    )?),+
                };
                $(registry.register(Box::new(all.$field.clone()))?;)+
                Ok(all)
            }
        }
    };
}

metrics! {
    http_requests: IntCounterVec = "latchkey_http_requests_total" ["route", "status"],
        "HTTP requests answered, by route and status";
    http_seconds: HistogramVec = "latchkey_http_request_seconds" ["route"] QUICK,
        "From an HTTP request's head to its answer's head";
    queue_depth: IntGaugeVec = "latchkey_queue_depth" ["kind"],
        "Jobs that wait to be run, by kind";
    queue_oldest: GaugeVec = "latchkey_queue_oldest_age_seconds" ["kind"],
        "How long the oldest job that could run has waited, by kind; alert on this, not on depth";
    jobs: IntCounterVec = "latchkey_jobs_total" ["kind", "end"],
        "Attempts at jobs, by kind and how they ended";
    job_wait: HistogramVec = "latchkey_job_wait_seconds" ["kind"] WAITS,
        "From when a job could run to when it began";
    job_run: HistogramVec = "latchkey_job_run_seconds" ["kind"] QUICK,
        "How long one attempt at a job took";
    refreshes: IntCounterVec = "latchkey_refresh_total" ["provider", "outcome"],
        "Attempts at refreshing a grant, by how they ended";
    refresh_lead: HistogramVec = "latchkey_refresh_lead_seconds" ["provider"] LEADS,
        "How long the access token still had to live when its successor landed";
    refresh_seconds: HistogramVec = "latchkey_refresh_seconds" ["provider"] FINE,
        "From the claim of a grant to its successor in the store";
    refresh_missed: IntCounterVec = "latchkey_refresh_missed_total" ["provider"],
        "Successors that landed only after the access token had ended";
    refresh_budget: GaugeVec = "latchkey_refresh_budget_used_ratio" ["provider"],
        "How much of its refresh budget a provider used in the scheduler's last tick, 1 being all";
    grants_due: IntGauge = "latchkey_grants_due_undispatched" [],
        "Grants that are due and that no worker has, as of the last sweep";
    paused: IntCounterVec = "latchkey_auth_configs_paused_total" ["provider"],
        "OAuth clients that were paused because their provider refused them; each wants its operator";
    in_doubt: IntGauge = "latchkey_grants_in_doubt" [],
        "Grants whose last refresh has no known outcome";
    needs_reauth: IntCounterVec = "latchkey_needs_reauth_total" ["provider", "reason"],
        "Grants that ended and need their user again, by reason";
    calls: IntCounterVec = "latchkey_calls_total" ["provider", "outcome", "class"],
        "Calls to providers, by outcome and class of status";
    call_seconds: HistogramVec = "latchkey_call_seconds" ["provider"] QUICK,
        "How long a provider took to answer a call";
    throttled: IntCounterVec = "latchkey_throttled_total" ["scope"],
        "Calls and refreshes held back, by whose limit it was";
    aead_failures: IntCounterVec = "latchkey_aead_failures_total" ["table"],
        "Sealed values that did not open: damage, a lost key, or ciphertext that was moved";
    commit_rows: Histogram = "latchkey_store_commit_rows" [] ROWS,
        "Rows written by one commit of the group writer";
    commit_seconds: Histogram = "latchkey_store_commit_seconds" [] QUICK,
        "How long one commit of the group writer took";
    journal_bytes: IntGauge = "latchkey_journal_bytes" [],
        "Bytes of the provider answers in the local journal that the store has not passed yet";
    journal_entries: IntGauge = "latchkey_journal_entries" [],
        "Provider answers in the local journal that the store has not passed yet";
    breakers: IntGaugeVec = "latchkey_breakers_not_closed" ["provider"],
        "Circuit breakers that are open or half open, by provider";
    limits_by_share: IntGauge = "latchkey_limits_by_share" [],
        "1 while Redis is away and this process allows its share of each plan, else 0";
    tasks: IntCounterVec = "latchkey_task_runs_total" ["task", "end"],
        "Runs of scheduled tasks, by how they ended";
    task_seconds: HistogramVec = "latchkey_task_seconds" ["task"] QUICK,
        "How long a run of a scheduled task took";
}

/// The metrics of one server.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    all: All,
    bounded: Arc<Bounded>,
}

impl Metrics {
    /// New metrics, all at zero, in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let all = All::new(&registry)
            // The table above is constant and a test builds it.
            .expect("names and labels of the table are valid and differ");
        for scope in ThrottleScope::ALL {
            // There from the start, so that a rate over it begins at zero.
            all.throttled.with_label_values(&[scope.as_str()]);
        }
        Self {
            registry,
            all,
            bounded: Arc::default(),
        }
    }

    /// All metrics as Prometheus text (exposition format 0.0.4).
    pub fn encode(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            // It fails on families without a name or a sample, and `gather` leaves those out.
            .expect("gathered metrics are text")
    }

    /// An HTTP request to us was answered. `route` is the method and the route's pattern
    /// (`GET /api/v1/jobs/{id}`), never the path itself.
    pub fn http_request(&self, route: &str, status: u16, took: Duration) {
        let route = self.bounded.value("route", route);
        let status = status.to_string();
        let status = self.bounded.value("status", &status);
        self.all
            .http_requests
            .with_label_values(&[route, status])
            .inc();
        observe(&self.all.http_seconds, route, took);
    }

    /// How many jobs of a kind wait, and for how long the oldest of those that could run has.
    pub fn queue(&self, kind: &str, depth: u64, oldest: Duration) {
        let kind = self.bounded.value("kind", kind);
        self.all
            .queue_depth
            .with_label_values(&[kind])
            .set(signed(depth));
        self.all
            .queue_oldest
            .with_label_values(&[kind])
            .set(oldest.as_secs_f64());
    }

    /// A job's attempt begins, this long after it could have.
    pub fn job_began(&self, kind: &str, waited: Duration) {
        observe(&self.all.job_wait, self.bounded.value("kind", kind), waited);
    }

    /// A job's attempt ended.
    pub fn job_ended(&self, kind: &str, end: JobEnd, took: Duration) {
        let kind = self.bounded.value("kind", kind);
        self.all.jobs.with_label_values(&[kind, end.as_str()]).inc();
        observe(&self.all.job_run, kind, took);
    }

    /// An attempt at refreshing a grant ended.
    pub fn refresh(&self, provider: &str, outcome: RefreshOutcome) {
        let provider = self.bounded.value("provider", provider);
        self.all
            .refreshes
            .with_label_values(&[provider, outcome.as_str()])
            .inc();
    }

    /// How long a refresh took, from its claim to its successor in the store.
    pub fn refresh_took(&self, provider: &str, took: Duration) {
        let provider = self.bounded.value("provider", provider);
        observe(&self.all.refresh_seconds, provider, took);
    }

    /// A grant's new tokens landed. `lead` is what its access token still had to live, or `None` when it
    /// had ended: a miss.
    pub fn refresh_landed(&self, provider: &str, lead: Option<Duration>) {
        let provider = self.bounded.value("provider", provider);
        match lead {
            Some(lead) => observe(&self.all.refresh_lead, provider, lead),
            None => self.all.refresh_missed.with_label_values(&[provider]).inc(),
        }
    }

    /// How much of its budget a provider used in one tick of the scheduler.
    pub fn refresh_budget(&self, provider: &str, used: f64) {
        let provider = self.bounded.value("provider", provider);
        self.all
            .refresh_budget
            .with_label_values(&[provider])
            .set(used);
    }

    /// How many grants are due and with no worker.
    pub fn grants_due(&self, grants: u64) {
        self.all.grants_due.set(signed(grants));
    }

    /// An auth config was paused: its provider refused it.
    pub fn auth_config_paused(&self, provider: &str) {
        let provider = self.bounded.value("provider", provider);
        self.all.paused.with_label_values(&[provider]).inc();
    }

    /// How many grants are in doubt now.
    pub fn in_doubt(&self, grants: u64) {
        self.all.in_doubt.set(signed(grants));
    }

    /// A grant ended and needs its user again.
    pub fn needs_reauth(&self, provider: &str, reason: DeadReason) {
        let provider = self.bounded.value("provider", provider);
        self.all
            .needs_reauth
            .with_label_values(&[provider, reason.as_str()])
            .inc();
    }

    /// A call to a provider has its final outcome.
    pub fn call(&self, provider: &str, outcome: CallOutcome, status: Option<u16>, took: Duration) {
        let provider = self.bounded.value("provider", provider);
        let class = HttpStatus::class_of(status).as_str();
        self.all
            .calls
            .with_label_values(&[provider, outcome.as_str(), class])
            .inc();
        observe(&self.all.call_seconds, provider, took);
    }

    /// A call or a refresh was held back.
    pub fn throttled(&self, scope: ThrottleScope) {
        self.all
            .throttled
            .with_label_values(&[scope.as_str()])
            .inc();
    }

    /// A sealed value of this table did not open.
    pub fn aead_failure(&self, table: &str) {
        let table = self.bounded.value("table", table);
        self.all.aead_failures.with_label_values(&[table]).inc();
    }

    /// The group writer committed.
    pub fn store_commit(&self, rows: usize, took: Duration) {
        // A group holds a few hundred rows.
        self.all
            .commit_rows
            .observe(u32::try_from(rows).map_or(f64::INFINITY, f64::from));
        self.all.commit_seconds.observe(took.as_secs_f64());
    }

    /// How many entries the local journal holds now, and their bytes.
    pub fn journal(&self, entries: u64, bytes: u64) {
        self.all.journal_entries.set(signed(entries));
        self.all.journal_bytes.set(signed(bytes));
    }

    /// How many breakers of a provider are not closed now.
    pub fn breakers_not_closed(&self, provider: &str, count: u32) {
        let provider = self.bounded.value("provider", provider);
        self.all
            .breakers
            .with_label_values(&[provider])
            .set(i64::from(count));
    }

    /// Whether plan limits are counted by this process's share, because Redis is away.
    pub fn limits_by_share(&self, by_share: bool) {
        self.all.limits_by_share.set(i64::from(by_share));
    }

    /// A scheduled task ran.
    pub fn task(&self, task: &str, end: TaskEnd, took: Duration) {
        let task = self.bounded.value("task", task);
        self.all
            .tasks
            .with_label_values(&[task, end.as_str()])
            .inc();
        observe(&self.all.task_seconds, task, took);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn observe(histogram: &HistogramVec, label: &str, span: Duration) {
    histogram
        .with_label_values(&[label])
        .observe(span.as_secs_f64());
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How each type of metric is made from a line of the table.
trait Metric: Collector + Clone + Sized {
    fn build(
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Option<&[f64]>,
    ) -> prometheus::Result<Self>;
}

macro_rules! metric {
    ($type:ty, |$name:ident, $help:ident, $labels:ident, $buckets:ident| $build:expr) => {
        impl Metric for $type {
            fn build(
                $name: &str,
                $help: &str,
                $labels: &[&str],
                $buckets: Option<&[f64]>,
            ) -> prometheus::Result<Self> {
                $build
            }
        }
    };
}

metric!(IntGauge, |name, help, _labels, _buckets| IntGauge::new(
    name, help
));
metric!(IntCounterVec, |name, help, labels, _buckets| {
    IntCounterVec::new(Opts::new(name, help), labels)
});
metric!(
    IntGaugeVec,
    |name, help, labels, _buckets| IntGaugeVec::new(Opts::new(name, help), labels)
);
metric!(GaugeVec, |name, help, labels, _buckets| GaugeVec::new(
    Opts::new(name, help),
    labels
));
metric!(Histogram, |name, help, _labels, buckets| {
    Histogram::with_opts(options(name, help, buckets))
});
metric!(HistogramVec, |name, help, labels, buckets| {
    HistogramVec::new(options(name, help, buckets), labels)
});

fn options(name: &str, help: &str, buckets: Option<&[f64]>) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets.unwrap_or(QUICK).to_vec())
}
