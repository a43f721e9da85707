//! The driver: runs a task at its ticks. It knows no task. Each tick is claimed in the task's row, by one
//! process of all; what the task says of it is logged, counted and kept there. Ticks that nobody made (all
//! processes were away) are made up by one. A task that fails is run again at its next tick, not before.

use std::{fmt::Debug, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::Timestamp;
use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;
use latchkey_telemetry::{Chain, TaskEnd};
use serde::Serialize;
use tracing::Instrument;

use crate::cadence::{Cadence, CronError};

/// Bounds of how long a tick is held before another process may take the next: two periods, so that the
/// tasks of a process that died go on elsewhere soon. A run that takes longer may meet another; every task
/// stands that.
const LEASES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A scheduled task. It takes no input and keeps no state: two runs in a row do what one does.
pub(crate) trait Task: 'static {
    /// Its name in rows, logs and metrics.
    const NAME: &'static str;
    /// What a run did, in a form for logs and the task's row. Equal to its default when there was nothing
    /// to do.
    type Status: Serialize + Debug + Default + PartialEq + Send;

    /// When it runs.
    fn cadence(config: &Config) -> Result<Cadence, CronError>;

    /// Whether there may be anything to do. A cheap look before a tick is claimed, for tasks whose ticks are
    /// many.
    fn is_needed(_ctx: &Context) -> impl Future<Output = Result<bool, StoreError>> + Send {
        std::future::ready(Ok(true))
    }

    /// Runs once.
    fn run(ctx: &Context) -> impl Future<Output = Result<Self::Status, StoreError>> + Send;
}

/// A task without its type.
pub(crate) struct Entry {
    /// See [`Task::NAME`].
    pub(crate) name: &'static str,
    cadence: fn(&Config) -> Result<Cadence, CronError>,
    is_needed: fn(&Context) -> BoxFuture<'_, Result<bool, StoreError>>,
    run: fn(&Context) -> BoxFuture<'_, Result<Report, StoreError>>,
}

impl Entry {
    /// When it runs.
    pub(crate) fn cadence(&self, config: &Config) -> Result<Cadence, CronError> {
        (self.cadence)(config)
    }
}

/// What a run did.
struct Report {
    json: String,
    is_idle: bool,
}

/// A task as the driver takes it.
pub(crate) const fn entry<T: Task>() -> Entry {
    Entry {
        name: T::NAME,
        cadence: T::cadence,
        is_needed: |ctx| T::is_needed(ctx).boxed(),
        run: |ctx| run::<T>(ctx).boxed(),
    }
}

async fn run<T: Task>(ctx: &Context) -> Result<Report, StoreError> {
    let status = T::run(ctx).await?;
    Ok(Report {
        is_idle: status == T::Status::default(),
        // Statuses are plain counts.
        json: serde_json::to_string(&status).unwrap_or_else(|_| format!("{status:?}")),
    })
}

/// Runs a task at its ticks until the process drains.
pub(crate) async fn drive(ctx: &Context, task: &Entry, owner: &str) {
    let cadence = match task.cadence(&ctx.config) {
        Ok(cadence) => cadence,
        Err(error) => {
            // The settings are checked at start; this is for those that came another way.
            tracing::error!(task = task.name, error = %Chain(&error), "task never runs");
            return;
        }
    };
    let span = tracing::info_span!("task", task = task.name);
    let mut last = None;
    let work = async {
        loop {
            let now = time(ctx).await;
            let slot = cadence.latest(now);
            // An earlier one than the last is a clock that was set back; the row decides.
            if slot != last {
                last = slot;
                // Finished even if the process drains meanwhile: ticks are short.
                let slot = slot.unwrap_or(now);
                let lease = cadence
                    .next(slot)
                    .map_or(LEASES.1, |next| slot.until(next) * 2);
                let lease = lease.clamp(LEASES.0, LEASES.1);
                tick(ctx, task, Claim { owner, slot, lease }).await;
            }
            let now = time(ctx).await;
            let Some(next) = cadence.next(now) else {
                return;
            };
            let nap = tokio::time::sleep(now.until(next));
            if ctx.stopper.run_until_draining(nap).await.is_none() {
                return;
            }
        }
    };
    work.instrument(span).await;
}

/// The store's time, which all schedulers share; this process's while the store is away.
async fn time(ctx: &Context) -> Timestamp {
    ctx.store.db_now().await.unwrap_or_else(|_| ctx.now())
}

/// A tick that a process wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// Which process.
    pub(crate) owner: &'a str,
    /// Which tick.
    pub(crate) slot: Timestamp,
    /// How long it is held if the process dies.
    pub(crate) lease: Duration,
}

/// Claims a tick and runs it, if it is needed and no other process has it.
pub(crate) async fn tick(ctx: &Context, task: &Entry, claim: Claim<'_>) {
    let began = ctx.clock.monotonic();
    let ran = claim_and_run(ctx, task, claim).await;
    let took = ctx.clock.monotonic().saturating_sub(began);
    match ran {
        Ok(None) => {}
        Ok(Some(report)) => {
            ctx.metrics.task(task.name, TaskEnd::Ok, took);
            if report.is_idle {
                tracing::trace!(status = report.json, ?took, "task had nothing to do");
            } else {
                tracing::debug!(status = report.json, ?took, "task ran");
            }
        }
        Err(error) => {
            ctx.metrics.task(task.name, TaskEnd::Failed, took);
            tracing::warn!(error = %Chain(&error), ?took, "task failed");
        }
    }
}

async fn claim_and_run(
    ctx: &Context,
    task: &Entry,
    claim: Claim<'_>,
) -> Result<Option<Report>, StoreError> {
    let Claim { owner, slot, lease } = claim;
    if !(task.is_needed)(ctx).await? {
        return Ok(None);
    }
    let (store, now) = (&ctx.store, ctx.store.db_now().await?);
    if !store
        .claim_task(task.name, slot, owner, now + lease, now)
        .await?
    {
        return Ok(None);
    }
    let ran = (task.run)(ctx).await;
    let said = match &ran {
        Ok(report) => report.json.clone(),
        Err(error) => Chain(error).to_string(),
    };
    // Also after a failure: the next tick must not wait for the lease.
    let finished = store
        .finish_task(task.name, owner, &said, store.db_now().await?)
        .await;
    let report = ran?;
    finished?;
    Ok(Some(report))
}
