//! The worker: jobs in, provider calls out, outcomes into the store.
//!
//! ```text
//!               ┌ runner: claim, time-out, panic, outcome → row ┐
//! queue ──job──▶│  register ─▶ handlers::<kind> ─▶ gate ─▶ http │──▶ provider
//!               └────────────────────┬──────────────────────────┘
//!                                    └─▶ refresh: fresh tokens (`architecture.md` §6)
//! ```
//!
//! A handler is one file and names its outcome; everything that every handler needs stands once, in
//! [`runner`]. What was claimed and not finished is found by its row, so nothing here must survive.

pub mod bench;
mod client;
mod connections;
mod error;
mod fault;
mod gate;
mod handlers;
mod introspection;
mod leases;
mod quota;
mod refresh;
mod register;
mod runner;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use latchkey_domain::{HolderId, backoff::Backoff};
use latchkey_jobs::{Execute, RunOptions, Urgency};
use latchkey_runtime::Context;
use latchkey_telemetry::Chain;
use tokio::sync::Semaphore;

use crate::{
    client::Clients, connections::Connections, gate::Gate, handlers::deliver_callback::Callbacks,
    leases::Leases, quota::Quotas, refresh::Refresher,
};

pub use crate::error::WorkerError;

/// How long the worker waits before it begins a loop again that failed.
const RESTART: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};
/// A loop that ran this long had recovered: its next failure counts as the first.
const RECOVERED: Duration = Duration::from_secs(60);

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) ctx: Context,
    pub(crate) refresher: Refresher,
    pub(crate) gate: Gate,
    pub(crate) clients: Clients,
    pub(crate) callbacks: Callbacks,
    pub(crate) leases: Leases,
    /// One permit: for a job that may be what ends its workers (`runner.rs`).
    pub(crate) suspects: Arc<Semaphore>,
    pub(crate) quotas: Quotas,
    pub(crate) connections: Connections,
}

impl Worker {
    /// Replays the journal and closes what an earlier process left open; then jobs may begin.
    async fn open(ctx: Context) -> Result<Arc<Self>, WorkerError> {
        Ok(Arc::new(Self {
            refresher: Refresher::open(ctx.clone()).await?,
            gate: Gate::new(&ctx),
            clients: Clients::new(&ctx),
            callbacks: Callbacks::default(),
            leases: Leases::default(),
            suspects: Arc::new(Semaphore::new(1)),
            quotas: Quotas::new(&ctx),
            connections: Connections::new(&ctx),
            ctx,
        }))
    }
}

/// Runs the worker until [`latchkey_runtime::Stopper::finishing`]: then it fetches nothing new, finishes
/// what runs, and returns.
///
/// # Errors
/// [`WorkerError`] when it cannot begin. Afterwards a loop that fails is begun again.
pub async fn run(ctx: Context) -> Result<(), WorkerError> {
    let worker = Worker::open(ctx).await?;
    let replay = keep_running(&worker, "journal", {
        let worker = Arc::clone(&worker);
        move || {
            let refresher = worker.refresher.clone();
            async move {
                refresher.background().await;
                Ok(())
            }
        }
    });
    let work = async { futures::join!(run_queues(Arc::clone(&worker)), replay) };
    tokio::select! {
        // Until the last job has ended: also while the process stops.
        _ = work => {}
        () = worker.leases.keep(&worker.ctx) => {}
    }
    Ok(())
}

/// One loop for each urgency, so that none waits for another.
async fn run_queues(worker: Arc<Worker>) {
    let loops = Urgency::ALL.map(|urgency| {
        let fetching = Arc::clone(&worker);
        keep_running(&worker, urgency.as_str(), move || {
            fetch(Arc::clone(&fetching), urgency)
        })
    });
    futures::future::join_all(loops).await;
}

/// Fetches and runs the jobs of one urgency until the worker stops.
async fn fetch(
    worker: Arc<Worker>,
    urgency: Urgency,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let ctx = &worker.ctx;
    let settings = &ctx.config.worker;
    let options = RunOptions {
        name: format!(
            "{}-{}",
            urgency.as_str(),
            HolderId::new(ctx.now(), &*ctx.entropy)
        ),
        concurrency: match urgency {
            Urgency::Interactive => settings.interactive,
            Urgency::Refresh => settings.refresh,
            Urgency::Background => settings.background,
        },
    };
    let (queue, stop) = (Arc::clone(&ctx.queue), ctx.stopper.finishing().clone());
    let execute = Execute::new(move |job| Box::pin(runner::run(Arc::clone(&worker), job)));
    queue.run(urgency, options, execute, stop).await?;
    Ok(())
}

/// Keeps a loop running until the worker stops: one that ends or panics is begun again, after a wait.
async fn keep_running<F, R>(worker: &Worker, name: &str, mut begin: F)
where
    F: FnMut() -> R,
    R: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (ctx, stop) = (&worker.ctx, worker.ctx.stopper.finishing());
    let mut failures = 0;
    while !stop.is_cancelled() {
        let began = ctx.clock.monotonic();
        // On a task of its own, so that a panic ends the loop and not the worker.
        let ended = tokio::spawn(begin()).await;
        if stop.is_cancelled() {
            break;
        }
        let lasted = ctx.clock.monotonic().saturating_sub(began);
        failures = if lasted > RECOVERED { 1 } else { failures + 1 };
        let wait = RESTART.wait(failures, &*ctx.entropy);
        match ended {
            Ok(Ok(())) => tracing::error!(name, ?wait, "a worker loop ended by itself"),
            Ok(Err(error)) => {
                tracing::error!(name, ?wait, error = %Chain(&*error), "a worker loop failed");
            }
            Err(_) => tracing::error!(name, ?wait, "a worker loop panicked"),
        }
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}
