//! The end of an attempt without new tokens: what `domain::refresh::close` decides, written by version and
//! attempt. A grant is declared dead by the same conditional write, so that one which another process moved
//! on meanwhile stays alive.

use std::time::Duration;

use latchkey_domain::{
    Timestamp,
    backoff::Backoff,
    refresh::{self, Class, Closing, DeadReason, Ended},
};
use latchkey_store::CloseAttempt;
use latchkey_telemetry::RefreshOutcome;

use super::{
    attempt::{Claimed, End},
    protocol::Protocol,
};

/// How an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) ended: Ended,
    pub(super) class: Class,
    pub(super) outcome: RefreshOutcome,
    /// What partners may see of it.
    pub(super) shown: Option<String>,
    /// Why the auth config is paused now, if it is.
    pub(super) paused: Option<String>,
}

/// A closed attempt, for everyone who waited for it.
#[derive(Debug)]
pub(super) struct Closed {
    /// Why the grant is dead, if it is.
    pub(super) dead: Option<DeadReason>,
    /// Why the auth config is paused now, if it is.
    pub(super) paused: Option<String>,
    /// When it makes sense to try again: the end of the cool-down, or of the doubt's quiet time.
    pub(super) again_at: Option<Timestamp>,
}

impl Protocol {
    /// Closes a claimed attempt. While the store is away it goes on trying: an attempt that nobody closes
    /// blocks its grant for the length of the patience.
    pub(super) async fn close(&self, claimed: &Claimed, failure: Failure) -> End {
        let closing = refresh::close(failure.ended, failure.class, claimed.doubt);
        let failures = claimed.row.failures + u32::from(closing.counts_failure);
        // Drawn once, so that every try writes the same wait.
        let jittered = Backoff::REFRESH.wait(failures, &*self.ctx.entropy);
        let written = self
            .until_stored("attempt not closed", false, || {
                let write = self.closing(claimed, &failure, closing, jittered);
                async {
                    let again_at = write.due_at;
                    let written = self.ctx.store.close_attempt(write).await;
                    written.map(|written| (written, again_at))
                }
            })
            .await;
        let Some((written, again_at)) = written else {
            // The next process closes it, in doubt.
            return End::Crashed;
        };
        let (grant, provider) = (claimed.row.key(), &claimed.row.provider);
        self.ctx.metrics.refresh(provider, failure.outcome);
        self.changed(grant).await;
        if !written {
            return End::Moved;
        }
        let outcome = failure.outcome.as_str();
        let error = failure.shown.as_deref().unwrap_or_default();
        if let Some(reason) = closing.dead {
            self.ctx.metrics.needs_reauth(provider, reason);
            let reason = reason.as_str();
            tracing::warn!(%grant.id, provider, reason, error, "grant needs its user again");
        } else {
            tracing::info!(%grant.id, provider, outcome, error, "refresh without new tokens");
        }
        End::Closed(Closed {
            dead: closing.dead,
            paused: failure.paused,
            again_at,
        })
    }

    /// The write, with the times as they are now.
    fn closing(
        &self,
        claimed: &Claimed,
        failure: &Failure,
        closing: Closing,
        jittered: Duration,
    ) -> CloseAttempt {
        let now = claimed.moment.now(&*self.ctx.clock);
        let (row, view) = (&claimed.row, claimed.row.view(None));
        let closed = refresh::Closed {
            grant: &view,
            first_claim_at: claimed.first_claim_at,
            closing,
            class: failure.class,
            jittered,
        };
        let failures = closed.failures();
        let (retry_at, due_at) = closed.next(&claimed.rules, &self.timings, now);
        CloseAttempt {
            grant: row.key(),
            version: row.version,
            attempt: claimed.attempt,
            closing,
            retry_at,
            failures,
            last_failure: failure.shown.clone(),
            outcome: failure.outcome.as_str(),
            took: claimed.took(&*self.ctx.clock),
            due_at,
            now,
        }
    }
}
