//! Refreshes a batch of grants through the protocol (`crate::refresh`), which writes every outcome into the
//! grants' own rows: a batch that is cut short is dispatched again by them.

use latchkey_jobs::{Outcome, kinds::RefreshGrants};

use crate::{Worker, register::Handler, runner::Attempt};

impl Handler for RefreshGrants {
    async fn run(self, worker: &Worker, _: &Attempt) -> Outcome {
        let report = worker
            .refresher
            .refresh_batch(&self.grants, self.asked)
            .await;
        tracing::info!(?report, "refreshed");
        Outcome::DONE
    }
}
