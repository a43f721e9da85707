//! Every scheduled task: one file and one line here each.

mod expire_sessions;
mod refresh_ahead;
mod refresh_due;
mod release_waiting;
mod requeue_stuck;
mod retention;
mod sweep_attempts;
mod usage_rollup;

use crate::driver::{Entry, entry};

/// Rows changed by one statement: enough that a statement's cost is shared, few enough that others get
/// their turn at the store.
const BATCH: u32 = 500;
/// Batches in one run: a backlog goes on at the next tick, so that no run outlasts its lease.
const MAX_BATCHES: u32 = 40;

/// All tasks.
pub(crate) const fn all() -> [Entry; 8] {
    [
        entry::<refresh_due::RefreshDue>(),
        entry::<refresh_ahead::RefreshAhead>(),
        entry::<sweep_attempts::SweepAttempts>(),
        entry::<release_waiting::ReleaseWaiting>(),
        entry::<requeue_stuck::RequeueStuck>(),
        entry::<expire_sessions::ExpireSessions>(),
        entry::<usage_rollup::UsageRollup>(),
        entry::<retention::Retention>(),
    ]
}

/// Repeats a batch until it was not full; how many rows it changed in all.
async fn in_batches<F, E>(mut batch: impl FnMut() -> F) -> Result<u64, E>
where
    F: Future<Output = Result<u64, E>>,
{
    let mut all = 0;
    for _ in 0..MAX_BATCHES {
        let changed = batch().await?;
        all += changed;
        if changed < u64::from(BATCH) {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_file_here_is_a_task_in_the_list() {
        // Relative to the package, where tests run: a build folder may outlive the checkout it was filled from.
        let folder = "src/tasks";
        let files: BTreeSet<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().to_string_lossy().replace(".rs", ""))
            .filter(|name| name != "mod")
            .collect();
        let tasks: BTreeSet<_> = super::all().iter().map(|t| t.name.to_owned()).collect();
        assert_eq!(files, tasks);
    }
}
