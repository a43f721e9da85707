//! Refreshes a batch of grants through the protocol (`crate::refresh`), which writes every outcome into the
//! grants' own rows: a batch that is cut short is dispatched again by them. Only a partner that asked for a
//! refresh waits for this job's own outcome.

use latchkey_domain::states::GrantState;
use latchkey_jobs::{Outcome, kinds::RefreshGrants};
use latchkey_store::GrantKey;
use latchkey_telemetry::Chain;

use crate::{Worker, register::Handler, runner::Attempt};

impl Handler for RefreshGrants {
    async fn run(self, worker: &Worker, _: &Attempt) -> Outcome {
        let report = worker
            .refresher
            .refresh_batch(&self.grants, self.asked)
            .await;
        tracing::info!(?report, "refreshed");
        if self.asked && report.refreshed == 0 {
            return why_not(worker, &self).await;
        }
        Outcome::DONE
    }
}

/// Why a refresh that a partner asked for brought no tokens. Its grant's row knows; when it is tried again is
/// for that row to say, not for the job.
async fn why_not(worker: &Worker, kind: &RefreshGrants) -> Outcome {
    let ctx = &worker.ctx;
    let key = |&(partner_id, id)| GrantKey { partner_id, id };
    let keys: Vec<_> = kind.grants.iter().map(key).collect();
    let row = match ctx.store.load_grants(&keys).await {
        Ok(loaded) => loaded.into_iter().next().map(|loaded| loaded.row),
        Err(error) => return Outcome::retry("INTERNAL", Chain(&error)),
    };
    let Some(row) = row else {
        return Outcome::fail("CONNECTION_NOT_FOUND", "the account is no longer connected");
    };
    match row.state {
        GrantState::Revoking | GrantState::Revoked => {
            Outcome::fail("CONNECTION_NOT_FOUND", "the account is no longer connected")
        }
        GrantState::NeedsReauth => {
            let reason = row.reason.as_deref().unwrap_or("invalid_grant");
            Outcome::fail(
                "NEEDS_REAUTH",
                format!("the end user must connect again: {reason}"),
            )
        }
        GrantState::Active if row.in_doubt || row.retry_at.is_some_and(|at| at > ctx.now()) => {
            let failure = row
                .last_failure
                .as_deref()
                .unwrap_or("an earlier attempt failed");
            Outcome::fail(
                "PROVIDER_UNAVAILABLE",
                format!("no new tokens, it is tried again by itself: {failure}"),
            )
        }
        // Somebody else is at it, or was a moment ago.
        GrantState::Active => Outcome::DONE,
    }
}
