//! [`Keys`]: the API keys that were looked up lately, and whose they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use latchkey_domain::Timestamp;
use latchkey_store::{ApiKeyRow, PartnerRow};
use latchkey_telemetry::Chain;
use moka::sync::Cache;

use crate::{error::ApiError, state::Api};

/// How long a looked-up key is trusted (`reliability.md` C: a revocation shows within 5 s on every node).
pub(super) const KEPT: Duration = Duration::from_secs(5);
/// Keys kept at once, some 1 KiB each. Prefixes of made-up keys count too.
const KEYS_KEPT: u64 = 50_000;
/// `last_used_at` is written at most this often for each key.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// The keys that were looked up lately, by public prefix.
#[derive(Debug)]
pub(crate) struct Keys {
    found: Cache<String, Arc<Found>>,
    /// Changes of keys and partners made in this process; what was found before one is looked up again.
    changes: Arc<AtomicU64>,
}

/// What a look-up found.
#[derive(Debug)]
pub(super) struct Found {
    at: Duration,
    changes: u64,
    /// Rarely more than one.
    pub(super) keys: Vec<Known>,
}

/// A living key and its partner.
#[derive(Debug)]
pub(super) struct Known {
    /// The key.
    pub(super) row: ApiKeyRow,
    /// Whose it is.
    pub(super) partner: Arc<PartnerRow>,
    /// When `last_used_at` was last written, in microseconds.
    touched: AtomicI64,
}

impl Keys {
    /// None yet. The count of changes is shared with whoever else keeps what it read of partners.
    pub(crate) fn new(changes: Arc<AtomicU64>) -> Self {
        Self {
            found: Cache::new(KEYS_KEPT),
            changes,
        }
    }

    /// To be called after every change of a partner or key on this server.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The living keys with this public prefix, at most [`KEPT`] old.
    pub(super) async fn lookup(&self, api: &Api, lookup: &str) -> Result<Arc<Found>, ApiError> {
        let (now, changes) = (
            api.ctx.clock.monotonic(),
            self.changes.load(Ordering::Acquire),
        );
        if let Some(found) = self.found.get(lookup)
            && found.changes == changes
            && now.saturating_sub(found.at) < KEPT
        {
            return Ok(found);
        }
        let rows = api.ctx.store.find_api_keys(lookup).await?;
        let found = Arc::new(Found {
            at: now,
            changes,
            keys: rows.into_iter().map(Known::new).collect(),
        });
        self.found.insert(lookup.to_owned(), Arc::clone(&found));
        Ok(found)
    }
}

impl Known {
    fn new((row, partner): (ApiKeyRow, PartnerRow)) -> Self {
        let touched = row.last_used_at.map_or(0, Timestamp::as_micros);
        Self {
            row,
            partner: Arc::new(partner),
            touched: AtomicI64::new(touched),
        }
    }

    /// Notes that the key was used. A store that cannot be written is no reason to refuse a reader.
    pub(super) async fn touch(&self, api: &Api) {
        let now = api.ctx.now();
        let before = self.touched.load(Ordering::Relaxed);
        let due = now.since(Timestamp::from_micros(before)) >= TOUCH_EVERY;
        let ours = due
            && self
                .touched
                .compare_exchange(
                    before,
                    now.as_micros(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if ours
            && let Err(error) = api
                .ctx
                .store
                .touch_api_key(self.partner.id, self.row.id, now)
                .await
        {
            tracing::warn!(error = %Chain(&error), key = %self.row.id, "last_used_at was not written");
        }
    }
}
