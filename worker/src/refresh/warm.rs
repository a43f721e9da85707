//! [`Warm`]: token sets that were opened lately, so that a call on a warm grant costs neither a query nor a
//! decryption. An entry is trusted for a second; then the row is read again, and opened again only if the
//! version moved on.

use std::time::Duration;

use latchkey_domain::{GrantId, Timestamp};
use latchkey_store::GrantKey;
use moka::{ops::compute::Op, sync::Cache};

use super::refresher::FreshToken;

/// Opened token sets kept: some 3 KiB each, 30 MiB in all.
const KEPT: u64 = 10_000;
/// How long an entry is trusted without reading the row. Disconnecting and refreshing elsewhere show after
/// it at the latest; within this process they show at once.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A bounded cache of opened tokens.
#[derive(Debug)]
pub(super) struct Warm {
    tokens: Cache<GrantId, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    grant: GrantKey,
    token: FreshToken,
    // When the row was last seen at this version, by the monotonic clock.
    seen_at: Duration,
}

impl Warm {
    pub(super) fn new() -> Self {
        Self {
            tokens: Cache::new(KEPT),
        }
    }

    /// The grant's token if it lives at `now` and its row was read a moment ago.
    pub(super) fn get(
        &self,
        grant: GrantKey,
        now: Timestamp,
        monotonic: Duration,
    ) -> Option<FreshToken> {
        let entry = self.tokens.get(&grant.id)?;
        let trusted = monotonic.saturating_sub(entry.seen_at) < TRUSTED_FOR;
        (entry.grant == grant && trusted && entry.token.lives(now)).then_some(entry.token)
    }

    /// The grant's opened token of this version, which was just read from the row.
    pub(super) fn opened(
        &self,
        grant: GrantKey,
        version: i64,
        monotonic: Duration,
    ) -> Option<FreshToken> {
        let entry = self.tokens.get(&grant.id)?;
        if entry.grant != grant || entry.token.version != version {
            return None;
        }
        self.put(grant, entry.token.clone(), monotonic);
        Some(entry.token)
    }

    /// Takes the place of a token that is kept. One that nobody asked for is not: most of what is refreshed ahead is
    /// not called before it is refreshed again.
    pub(super) fn renew(&self, grant: GrantKey, token: &FreshToken, monotonic: Duration) {
        if self.tokens.contains_key(&grant.id) {
            self.put(grant, token.clone(), monotonic);
        }
    }

    /// Keeps a token that was asked for, as its row was read at `monotonic`.
    pub(super) fn put(&self, grant: GrantKey, token: FreshToken, monotonic: Duration) {
        let entry = Entry {
            grant,
            token,
            seen_at: monotonic,
        };
        // Whoever read the row before it changed may come here after whoever read it then.
        self.tokens
            .entry(grant.id)
            .and_compute_with(|kept| match kept {
                Some(kept) if kept.value().token.version > entry.token.version => Op::Nop,
                _ => Op::Put(entry),
            });
    }

    /// Forgets a grant's token: it is dead, refused or gone.
    pub(super) fn forget(&self, grant: GrantKey) {
        self.tokens.invalidate(&grant.id);
    }
}
