//! [`Refresher`]: what handlers see of the refresh protocol. A fresh token for one grant, whoever has to
//! wait for whom; a batch of due grants; and the work in the background.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{
    GrantId, PartnerId, Timestamp, entropy,
    refresh::{COOL_DOWN, ClaimDecision, DeadReason, Need, cools_until},
    states::GrantState,
};
use latchkey_oauth::TokenSet;
use latchkey_runtime::Context;
use latchkey_store::{GrantKey, LoadedGrant, StoreError};
use latchkey_telemetry::{Chain, ThrottleScope};

use super::{
    attempt::End,
    moment::Moment,
    protocol::{Blocked, Protocol, Wish},
};
use crate::WorkerError;

/// How far apart those who waited for one lease read its row again.
pub(super) const JITTER: Duration = Duration::from_millis(500);
/// How long a due grant that cannot be refreshed for a reason of ours (a paused client, a secret that does
/// not open) is left alone.
const BLOCKED_FOR: Duration = Duration::from_secs(60);
/// When to come back where nothing better is known, and at the earliest.
pub(super) const COME_BACK: Duration = Duration::from_secs(1);

/// Keeps grants fresh. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Refresher {
    pub(super) protocol: Arc<Protocol>,
}

/// A token that lives.
#[derive(Clone, Debug)]
pub(crate) struct FreshToken {
    /// The tokens.
    pub(crate) tokens: Arc<TokenSet>,
    /// Which generation they are: what [`Refresher::after_401`] is told if the provider refuses them.
    pub(crate) version: i64,
}

impl FreshToken {
    /// Whether the access token works at `now` as far as its end is known.
    pub(super) fn lives(&self, now: Timestamp) -> bool {
        self.tokens.expires_at.is_none_or(|end| end > now)
    }
}

/// Why there is no fresh token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFresh {
    /// The grant is dead: the end user must connect again.
    #[error("the grant needs its user again: {reason}")]
    NeedsReauth {
        /// `invalid_grant`, `rotation_outcome_unknown`, `expired` and the like.
        reason: String,
    },
    /// Not now: the provider failed, or another attempt's outcome is awaited.
    #[error("no fresh token now, try again in {} s", retry_after.as_secs())]
    Unavailable {
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// The auth config is broken or paused; the grant is not.
    #[error("the auth config cannot be used: {reason}")]
    Operator {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such grant, or it was disconnected.
    #[error("the grant is gone")]
    Gone,
    /// The store failed.
    #[error("the grant could not be read or written")]
    Store(#[source] StoreError),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchReport {
    /// Grants with new tokens.
    pub(crate) refreshed: u32,
    /// Attempts that ended without.
    pub(crate) failed: u32,
    /// Grants that were not to be refreshed now, or not any more.
    pub(crate) left: u32,
}

enum Verdict {
    Refreshed,
    Failed,
    Left,
}

impl Refresher {
    /// Makes this process's journal and locks it, lands what dead processes left in theirs, and closes their
    /// attempts; only then may anything be claimed.
    ///
    /// # Errors
    /// [`WorkerError`] when a journal cannot be used or the store fails.
    pub(crate) async fn open(ctx: Context) -> Result<Self, WorkerError> {
        let protocol = Arc::new(Protocol::new(ctx)?);
        protocol.adopt_dead().await?;
        Ok(Self { protocol })
    }

    /// A token that lives: the one there is, or after its death the next one, refreshed here or by whoever
    /// is at it already. A refresh that fails while the token lives disturbs nobody.
    ///
    /// # Errors
    /// [`NotFresh`]. Nothing is retried here: the cool-down is in the row, and all who wait share it.
    pub(crate) async fn fresh(
        &self,
        partner: PartnerId,
        grant: GrantId,
    ) -> Result<FreshToken, NotFresh> {
        let grant = key(partner, grant);
        let clock = &self.protocol.ctx.clock;
        let warm = self
            .protocol
            .warm
            .get(grant, clock.now(), clock.monotonic());
        match warm {
            Some(token) => Ok(token),
            None => self.await_token(grant, None).await,
        }
    }

    /// After the provider answered 401 to the token of `version_used`: the next one, refreshed only if that
    /// is still the version. Ask once per call: a provider may answer 401 for other reasons.
    ///
    /// # Errors
    /// [`NotFresh`].
    pub(crate) async fn after_401(
        &self,
        partner: PartnerId,
        grant: GrantId,
        version_used: i64,
    ) -> Result<FreshToken, NotFresh> {
        self.await_token(key(partner, grant), Some(version_used))
            .await
    }

    /// A call was refused again with the token of `version`, which [`Self::after_401`] had just fetched for it:
    /// new tokens do not mend that, and none are fetched for it during the cool-down.
    pub(crate) async fn not_mended(&self, partner: PartnerId, grant: GrantId, version: i64) {
        let ctx = &self.protocol.ctx;
        let noted = async {
            let now = ctx.store.db_now().await?;
            ctx.store
                .note_refusal(key(partner, grant), version, now)
                .await
        };
        if let Err(error) = noted.await {
            tracing::debug!(%grant, error = %Chain(&error), "refusal not noted");
        }
    }

    /// Runs the protocol for grants that are due; `asked` also for those that are not (a partner asked for
    /// it). What is not to be refreshed now is left, with a time for the scheduler to look again.
    pub(crate) async fn refresh_batch(
        &self,
        grants: &[(PartnerId, GrantId)],
        asked: bool,
    ) -> BatchReport {
        let keys: Vec<_> = grants
            .iter()
            .map(|(partner, id)| key(*partner, *id))
            .collect();
        let ctx = &self.protocol.ctx;
        let mut report = BatchReport::default();
        let read = async {
            Ok::<_, StoreError>((
                Moment::read(ctx).await?,
                ctx.store.load_grants(&keys).await?,
            ))
        };
        let (moment, loaded) = match read.await {
            Ok(read) => read,
            Err(error) => {
                // The scheduler sends them again with its next pass.
                tracing::warn!(error = %Chain(&error), grants = keys.len(), "due grants not read");
                report.failed = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                return report;
            }
        };
        let runs = loaded
            .into_iter()
            .map(|grant| self.refresh_due(grant, moment, asked));
        for verdict in futures::future::join_all(runs).await {
            match verdict {
                Verdict::Refreshed => report.refreshed += 1,
                Verdict::Failed => report.failed += 1,
                Verdict::Left => report.left += 1,
            }
        }
        report
    }

    /// Replays the journal and adopts those of dead processes every `worker.journal_replay_ms`, until the
    /// process finishes.
    pub(crate) async fn background(&self) {
        self.protocol.keep_replaying().await;
    }

    /// Waits for the flight of a grant, or for somebody else's attempt, but no longer than one attempt can
    /// take.
    async fn await_token(
        &self,
        grant: GrantKey,
        refused: Option<i64>,
    ) -> Result<FreshToken, NotFresh> {
        let timings = &self.protocol.timings;
        let longest = timings.lease + timings.timeout;
        tokio::time::timeout(longest, self.token(grant, refused))
            .await
            .unwrap_or(Err(NotFresh::Unavailable {
                retry_after: COME_BACK,
            }))
    }

    async fn token(&self, grant: GrantKey, refused: Option<i64>) -> Result<FreshToken, NotFresh> {
        let protocol = &self.protocol;
        let ctx = &protocol.ctx;
        loop {
            // Before the row is read, so that no change falls between the two.
            let changed = ctx.signals.subscribe(grant.id.as_u128());
            let loaded = ctx.store.load_grant(grant).await.map_err(NotFresh::Store)?;
            let loaded = loaded.ok_or(NotFresh::Gone)?;
            let row = &loaded.row;
            match row.state {
                GrantState::Active => {}
                GrantState::NeedsReauth => {
                    let reason = row.reason.clone();
                    let reason = reason.unwrap_or_else(|| DeadReason::InvalidGrant.as_str().into());
                    return Err(NotFresh::NeedsReauth { reason });
                }
                GrantState::Revoking | GrantState::Revoked => {
                    protocol.warm.forget(grant);
                    return Err(NotFresh::Gone);
                }
            }
            let moment = Moment::read(ctx).await.map_err(NotFresh::Store)?;
            let now = moment.now(&*ctx.clock);
            if refused != Some(row.version) && row.token_lives(now) {
                let token = protocol.tokens(&loaded).await.map_err(NotFresh::from)?;
                let monotonic = ctx.clock.monotonic();
                protocol.warm.put(grant, token.clone(), monotonic);
                return Ok(token);
            }
            if !row.refreshable {
                let reason = "expired".to_owned();
                return Err(NotFresh::NeedsReauth { reason });
            }
            if refused == Some(row.version)
                && let Some(until) = cools_until(row.refused_at, now)
            {
                let retry_after = now.until(until);
                return Err(NotFresh::Unavailable { retry_after });
            }
            let client = protocol.client(row).await?;
            // A token that the provider refuses is dead, whatever the clock says.
            let wish = Wish {
                need: Need::TokenDead,
                probe: false,
            };
            match protocol.decide(&loaded, &client, wish, now)? {
                ClaimDecision::Claim { .. } => {}
                ClaimDecision::Busy(until) => {
                    let jitter = JITTER.mul_f64(entropy::fraction(&*ctx.entropy));
                    changed.wait(now.until(until) + jitter).await;
                    continue;
                }
                ClaimDecision::Later(at) => {
                    let retry_after = now.until(at);
                    return Err(NotFresh::Unavailable { retry_after });
                }
                // Its process died or stands still; its journal may hold the answer. The sweeper counts.
                ClaimDecision::Awaiting => {
                    let retry_after = protocol.timings.sweep;
                    return Err(NotFresh::Unavailable { retry_after });
                }
                ClaimDecision::Lost => {
                    protocol.give_up(row, now).await.map_err(NotFresh::Store)?;
                    continue;
                }
                ClaimDecision::Inactive => continue,
            }
            match &*protocol.fly(loaded, wish, moment).await {
                End::Landed { token, .. } => return Ok(token.clone()),
                End::Revoking => return Err(NotFresh::Gone),
                // The row is not as it was read, or the flight was somebody's with less need.
                End::Moved | End::NotNow(_) => {}
                other => return Err(other.as_not_fresh(now)),
            }
        }
    }

    async fn refresh_due(&self, loaded: LoadedGrant, moment: Moment, asked: bool) -> Verdict {
        let protocol = &self.protocol;
        let now = moment.now(&*protocol.ctx.clock);
        let row = &loaded.row;
        let due = asked || row.due_at.is_some_and(|due| due <= now);
        if row.state != GrantState::Active || !row.refreshable || !due {
            return Verdict::Left;
        }
        let mut wish = Wish::DUE;
        let decision = match protocol.client(row).await {
            Ok(client) => {
                if protocol.takes_probe(&client, now).await {
                    wish = Wish::PROBE;
                }
                protocol.decide(&loaded, &client, wish, now)
            }
            Err(blocked) => Err(blocked),
        };
        let look_again = match decision {
            Ok(ClaimDecision::Claim { .. }) => {
                let (grant, rev) = (row.key(), row.rev);
                let monotonic = protocol.ctx.clock.monotonic();
                if !asked
                    && !protocol
                        .health
                        .may_try(&row.provider, row.failures, monotonic)
                {
                    protocol.ctx.metrics.throttled(ThrottleScope::Provider);
                    return protocol.put_off(grant, rev, now).await;
                }
                return match &*protocol.fly(loaded, wish, moment).await {
                    End::Landed { .. } | End::Revoking => Verdict::Refreshed,
                    End::Moved | End::NotNow(_) | End::NoSlot => Verdict::Left,
                    end @ End::Elsewhere(_) => {
                        let wait = match end.as_not_fresh(now) {
                            NotFresh::Unavailable { retry_after } => retry_after,
                            _ => BLOCKED_FOR,
                        };
                        protocol.put_off(grant, rev, now + wait).await
                    }
                    End::Blocked(Blocked::Failing(wait)) => {
                        protocol.put_off(grant, rev, now + *wait).await
                    }
                    End::Blocked(blocked) => {
                        tracing::error!(%grant.id, error = %Chain(blocked), "grant cannot be refreshed");
                        protocol.look_again(grant, rev, now + BLOCKED_FOR).await;
                        Verdict::Failed
                    }
                    End::Closed(_) | End::Store(_) | End::Crashed => Verdict::Failed,
                };
            }
            Ok(ClaimDecision::Busy(at) | ClaimDecision::Later(at)) => at,
            Ok(ClaimDecision::Awaiting) => now + protocol.timings.sweep,
            Ok(ClaimDecision::Lost) => {
                if let Err(error) = protocol.give_up(row, now).await {
                    tracing::warn!(grant = %row.id, error = %Chain(&error), "lost grant not marked");
                }
                return Verdict::Failed;
            }
            Ok(ClaimDecision::Inactive) => return Verdict::Left,
            Err(blocked) => {
                tracing::debug!(grant = %row.id, error = %Chain(&blocked), "grant cannot be refreshed");
                now + BLOCKED_FOR
            }
        };
        protocol.look_again(row.key(), row.rev, look_again).await;
        Verdict::Left
    }
}

impl Protocol {
    /// Leaves a due grant alone until then and a little longer, so that those put off together do not come
    /// back together.
    async fn put_off(&self, grant: GrantKey, rev: i64, until: Timestamp) -> Verdict {
        let jitter = COOL_DOWN.mul_f64(entropy::fraction(&*self.ctx.entropy));
        self.look_again(grant, rev, until + jitter).await;
        Verdict::Left
    }
}

fn key(partner_id: PartnerId, id: GrantId) -> GrantKey {
    GrantKey { partner_id, id }
}
