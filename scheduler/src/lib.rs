//! The scheduler: time in; jobs, sweeps and roll-ups out. Each task is one file under `tasks/`; `driver.rs`
//! runs them and knows none. Any number of processes may run it: each tick of a task is a row that exactly
//! one of them claims by lease, so there is no leader to elect and none to lose.
//!
//! Every task is a reconciler: it looks at rows, compares them with what should be, and does the
//! difference. It takes no input, so a tick that is missed or made twice does no harm.

mod cadence;
mod driver;
mod tasks;

#[cfg(test)]
mod tests;

use futures::future::join_all;
use latchkey_domain::HolderId;
use latchkey_runtime::{Config, Context};
use latchkey_telemetry::Chain;

pub use self::cadence::CronError;

/// Whether every task can run as the settings say.
///
/// # Errors
/// The first cron line that does not read.
pub fn check(config: &Config) -> Result<(), CronError> {
    tasks::all()
        .iter()
        .try_for_each(|task| task.cadence(config).map(|_| ()))
}

/// Runs every task until [`latchkey_runtime::Stopper::draining`]. A tick that runs then is finished.
pub async fn run(ctx: Context) {
    if !ctx.config.is_fleet() {
        // In a fleet the queue's epoch tells (`tasks/requeue_stuck.rs`). The queue in memory died with the process before this one: what it held is pushed again.
        match ctx.store.reset_dispatched().await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "jobs of the process before are pushed again"),
            Err(error) => tracing::warn!(error = %Chain(&error), "old wake-ups not reset"),
        }
    }
    // New at each start: what an earlier life of this process claimed is not ours.
    let owner = HolderId::new(ctx.now(), &*ctx.entropy).to_string();
    let tasks = tasks::all();
    join_all(tasks.iter().map(|task| driver::drive(&ctx, task, &owner))).await;
}
