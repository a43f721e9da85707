//! An answer on its way into the store: sealed, kept in the journal, landed by version alone. From the moment
//! it came this process holds the only copy of tokens whose predecessors may be dead, so it goes on trying
//! for as long as it lives, and leaves the rest to the journal.

use std::{future::Future, sync::Arc, time::Duration};

use latchkey_domain::{JobId, backoff::Backoff, refresh};
use latchkey_oauth::TokenSet;
use latchkey_runtime::{SealingKey, revocation};
use latchkey_store::{GrantRow, Landed};
use latchkey_telemetry::{Chain, RefreshOutcome};
use secrecy::ExposeSecret;

use super::{
    attempt::{Caller, Claimed, End},
    fault,
    journal::Ticket,
    protocol::Protocol,
    record::{Entry, Head},
    refresher::FreshToken,
};
use crate::introspection::ask_end;

/// A commit that takes longer lets the journal be synced to the disk: something is wrong with the store, and
/// the machine may be next.
const SLOW_COMMIT: Duration = Duration::from_secs(1);
/// Waits between tries while the store is away.
const STORE_AWAY: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};

impl Protocol {
    /// Brings an answer home.
    pub(super) async fn land(
        &self,
        claimed: &Claimed,
        caller: &Caller,
        mut tokens: TokenSet,
    ) -> End {
        let mut entry = self.seal(claimed, &caller.key, &tokens);
        let ticket = match self.journal.keep(&entry) {
            Ok(ticket) => Some(ticket),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "answer not kept in the journal, only in memory");
                None
            }
        };
        self.count_entries();
        // The journal holds them without the end that is asked for now: then that of the entry stands.
        if self.asks_end(claimed, caller, &mut tokens).await {
            entry = self.seal(claimed, &caller.key, &tokens);
        }
        fault::point("refresh::before_commit", &claimed.row).await;
        let Some(landed) = self.store_answer(claimed, &entry, ticket.as_ref()).await else {
            return End::Crashed;
        };
        fault::point("refresh::after_commit", &claimed.row).await;
        if let Some(ticket) = ticket {
            ticket.passed();
        }
        self.count_entries();
        self.landed(claimed, tokens, landed).await
    }

    /// Asks the provider when the new access token ends, where its answers do not say; whether it told.
    async fn asks_end(&self, claimed: &Claimed, caller: &Caller, tokens: &mut TokenSet) -> bool {
        let Ok(spec) = caller.client.spec() else {
            return false;
        };
        if spec.introspect.is_none() {
            return false;
        }
        let kept = tokens.extra.clone();
        let credentials = caller.client.client(&caller.connection, &kept);
        let now = claimed.moment.now(&*self.ctx.clock);
        ask_end(&self.ctx, spec, &credentials, tokens, now).await
    }

    /// Seals the new tokens for the version they will be.
    pub(super) fn seal(&self, claimed: &Claimed, key: &SealingKey, tokens: &TokenSet) -> Entry {
        let grant = claimed.row.key();
        let (id, version) = (grant.id.to_string(), claimed.row.version + 1);
        let bytes = tokens.to_bytes();
        let sealed = key.seal(
            "grant_secrets",
            "sealed",
            &id,
            version,
            bytes.expose_secret(),
        );
        let due_at = claimed
            .renewal
            .and_then(|renewal| tokens.refresh_by(renewal))
            .map(|end| refresh::due_at(grant.id, version, tokens.issued_at, end));
        Entry {
            sealed,
            head: Head {
                grant,
                generation: claimed.row.version,
                attempt: claimed.attempt,
                issued_at: tokens.issued_at,
                expires_at: tokens.expires_at,
                due_at,
                refreshable: tokens.is_refreshable(),
                dies_at: tokens.refresh_expires_at,
                took: claimed.took(&*self.ctx.clock),
            },
        }
    }

    async fn store_answer(
        &self,
        claimed: &Claimed,
        entry: &Entry,
        ticket: Option<&Ticket>,
    ) -> Option<Landed> {
        let write = self.until_stored("answer not stored", ticket.is_none(), || {
            let now = claimed.moment.now(&*self.ctx.clock);
            self.ctx.store.land_grant(entry.landing(now))
        });
        let mut write = std::pin::pin!(write);
        let landed = if let Ok(landed) = tokio::time::timeout(SLOW_COMMIT, &mut write).await {
            landed
        } else {
            self.sync_journal().await;
            write.await
        };
        if landed.is_none() {
            self.sync_journal().await;
        }
        landed
    }

    async fn landed(&self, claimed: &Claimed, tokens: TokenSet, landed: Landed) -> End {
        let (row, grant) = (&claimed.row, claimed.row.key());
        let metrics = &self.ctx.metrics;
        let Landed::Stored { version, revoking } = landed else {
            metrics.refresh(&row.provider, RefreshOutcome::Stale);
            tracing::info!(%grant.id, row.version, "answer overtaken by another attempt");
            return End::Moved;
        };
        metrics.refresh(&row.provider, RefreshOutcome::Refreshed);
        if let Some(took) = claimed.took(&*self.ctx.clock) {
            metrics.refresh_took(&row.provider, took);
        }
        if let Some(end) = row.expires_at {
            let now = claimed.moment.now(&*self.ctx.clock);
            let lead = (end > now).then(|| now.until(end));
            // Late is a miss of ours only if the provider was well: no attempt at this generation failed, and
            // no breaker held it back.
            let late = row.due_at.map_or(Duration::ZERO, |due| due.until(now));
            let monotonic = self.ctx.clock.monotonic();
            let since = monotonic.saturating_sub(late);
            let was_well = self.health.was_well(&row.provider, since, monotonic);
            if lead.is_some() || (row.failures == 0 && !claimed.doubt && was_well) {
                metrics.refresh_landed(&row.provider, lead);
            }
        }
        if revoking {
            self.changed(grant).await;
            self.revoke(row).await;
            return End::Revoking;
        }
        let tokens = Arc::new(tokens);
        let token = FreshToken { tokens, version };
        let monotonic = self.ctx.clock.monotonic();
        self.warm.renew(grant, &token, monotonic);
        self.ctx.signals.publish(grant.id.as_u128()).await;
        tracing::debug!(%grant.id, provider = row.provider, version, "grant refreshed");
        End::Landed { token }
    }

    /// What landed on a deleted connection is revoked at once. The job that the deletion wrote may have
    /// ended, so there is one more; revoking twice harms nothing.
    pub(super) async fn revoke(&self, row: &GrantRow) {
        let stored = self
            .until_stored("revocation not queued", false, || async {
                let now = self.ctx.now();
                let id = JobId::new(now, &*self.ctx.entropy);
                match revocation(id, row, now) {
                    Ok((job, row)) => self.ctx.store.insert_job(row).await.map(|_| Some(job)),
                    // Ids always serialize.
                    Err(_) => Ok(None),
                }
            })
            .await;
        if let Some(Some(job)) = stored
            && let Err(error) = self.ctx.queue.push(job).await
        {
            tracing::debug!(error = %Chain(&error), "revocation left to the reconciler");
        }
    }

    /// Tries until the store takes it. `None` once the process stops and the store is still away, unless
    /// there is no other copy: then only the end of the process ends it.
    pub(super) async fn until_stored<T, E, F>(
        &self,
        what: &'static str,
        only_copy: bool,
        mut write: impl FnMut() -> F,
    ) -> Option<T>
    where
        E: std::error::Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let stop = self.ctx.stopper.finishing();
        let mut failures = 0;
        loop {
            let error = match write().await {
                Ok(done) => return Some(done),
                Err(error) => error,
            };
            failures += 1;
            let wait = STORE_AWAY.wait(failures, &*self.ctx.entropy);
            tracing::warn!(failures, error = %Chain(&error), "{what}");
            if !only_copy && stop.is_cancelled() {
                return None;
            }
            // A stop cuts the wait short, for one last try.
            if stop.is_cancelled() {
                tokio::time::sleep(wait).await;
            } else {
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
        }
    }

    /// Brings the journal to the disk; what cannot be is said, and goes on in memory.
    pub(super) async fn sync_journal(&self) {
        if let Err(error) = self.journal.sync().await {
            tracing::error!(error = %Chain(&error), "journal not synced");
        }
    }

    /// Shows how many answers wait.
    pub(super) fn count_entries(&self) {
        self.journal
            .tell_waiting(|entries, bytes| self.ctx.metrics.journal(entries, bytes));
    }
}
