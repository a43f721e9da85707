//! The driver: runs a task at its ticks. It knows no task. Each tick is claimed in the task's row, by one
//! process of all; what the task says of it is logged, counted and kept there.
//!
//! ```text
//!            claim                     run ended, well or not
//!   due ───────────────> held by one ─────────────────────────> made
//!    ^                    │   ^ │
//!    │                    │   └─┘ prolonged three times a lease, while its process lives
//!    └────────────────────┘
//!      the lease ended: its process died
//! ```
//!
//! Every process that finds a tick held looks again soon, so the tick of one that died is taken over within
//! [`LEASES`] and [`LOOK`], 7 s at the most. Ticks that nobody made (all processes were away) are made up by one:
//! only the latest is due. A task that fails is run again at its next tick, not before.

use std::{fmt::Debug, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::Timestamp;
use latchkey_runtime::{Config, Context};
use latchkey_store::{StoreError, TaskClaim};
use latchkey_telemetry::{Chain, TaskEnd};
use serde::Serialize;
use tracing::Instrument;

use crate::cadence::{Cadence, CronError};

/// Bounds of how long a tick is held without being prolonged: two periods, so that the tasks of a process that
/// died go on elsewhere soon. A process that stands still for longer may meet another; every task stands that.
const LEASES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How often a lease is prolonged in its time.
const PROLONGED: u32 = 3;
/// How soon, at the latest, a process looks again at a tick that another holds, or that it could not claim.
const LOOK: Duration = Duration::from_secs(2);

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
    let mut made = None;
    let work = async {
        loop {
            let now = time(ctx).await;
            let mut nap = LOOK;
            // An earlier one than the last is a clock that was set back; the row decides.
            if let Some(slot) = cadence.latest(now)
                && made != Some(slot)
            {
                let lease = cadence
                    .next(slot)
                    .map_or(LEASES.1, |next| slot.until(next) * 2);
                let lease = lease.clamp(LEASES.0, LEASES.1);
                // Finished even if the process drains meanwhile: ticks are short.
                if let Made::Yes = tick(ctx, task, Claim { owner, slot, lease }).await {
                    made = Some(slot);
                }
            }
            let now = time(ctx).await;
            let is_made = made == cadence.latest(now);
            match cadence.next(now) {
                Some(next) if is_made => nap = now.until(next),
                Some(next) => nap = nap.min(now.until(next)),
                None if is_made => return,
                None => {}
            }
            let nap = tokio::time::sleep(nap);
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

/// Whether a tick needs no further look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was made, here or elsewhere, or there was nothing to do.
    Yes,
    /// Another process holds it, or it could not be claimed.
    NotYet,
}

/// Claims a tick and runs it, if it is needed and no other process has it.
pub(crate) async fn tick(ctx: &Context, task: &Entry, claim: Claim<'_>) -> Made {
    let began = ctx.clock.monotonic();
    let ended = match take(ctx, task, claim).await {
        Ok(Some(TaskClaim::Won)) => run_held(ctx, task, claim).await.map(Some),
        Ok(Some(TaskClaim::Held { .. })) => return Made::NotYet,
        Ok(Some(TaskClaim::Made) | None) => Ok(None),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "tick could not be claimed");
            ctx.metrics.task(task.name, TaskEnd::Failed, Duration::ZERO);
            return Made::NotYet;
        }
    };
    let took = ctx.clock.monotonic().saturating_sub(began);
    match ended {
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
    Made::Yes
}

/// Claims a tick; `None` if there is nothing to do.
async fn take(
    ctx: &Context,
    task: &Entry,
    claim: Claim<'_>,
) -> Result<Option<TaskClaim>, StoreError> {
    let Claim { owner, slot, lease } = claim;
    if !(task.is_needed)(ctx).await? {
        return Ok(None);
    }
    let (store, now) = (&ctx.store, ctx.store.db_now().await?);
    store
        .claim_task(task.name, slot, owner, now + lease, now)
        .await
        .map(Some)
}

/// Runs a claimed tick and notes how it went.
async fn run_held(ctx: &Context, task: &Entry, claim: Claim<'_>) -> Result<Report, StoreError> {
    let ran = tokio::select! {
        ran = (task.run)(ctx) => ran,
        () = prolong(ctx, task, claim) => Err(StoreError::Closed),
    };
    let said = match &ran {
        Ok(report) => report.json.clone(),
        Err(error) => Chain(error).to_string(),
    };
    // Also after a failure: the next tick must not wait for the lease.
    let now = ctx.store.db_now().await;
    let finished = match now {
        Ok(now) => {
            ctx.store
                .finish_task(task.name, claim.owner, &said, now)
                .await
        }
        Err(error) => Err(error),
    };
    let report = ran?;
    finished?;
    Ok(report)
}

/// Prolongs a claim for as long as it is waited for.
async fn prolong(ctx: &Context, task: &Entry, claim: Claim<'_>) {
    let store = &ctx.store;
    loop {
        tokio::time::sleep(claim.lease / PROLONGED).await;
        let prolonged = async {
            let now = store.db_now().await?;
            store
                .extend_task(task.name, claim.owner, now + claim.lease, now)
                .await
        };
        match prolonged.await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("a tick took longer than its lease"),
            Err(error) => tracing::warn!(error = %Chain(&error), "a tick was not prolonged"),
        }
    }
}
