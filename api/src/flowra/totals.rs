//! [`Totals`]: how many connected accounts a list has in all. Few are counted each time. Many are counted once and
//! believed for a while that grows with what counting took, so that counting a large list never takes more than a
//! half percent of the time.

use std::time::Duration;

use latchkey_domain::PartnerId;
use latchkey_store::{ListingFilter, StoreError};
use moka::future::Cache;

use crate::state::Api;

/// Counted exactly each time up to this many.
const EXACT: u32 = 1000;
/// A total is believed for so many times what counting took.
const TIMES: u32 = 200;
/// At the longest.
const KEPT_MAX: Duration = Duration::from_secs(60);
/// Totals kept, some 300 bytes each.
const TOTALS_KEPT: u64 = 10_000;

/// The totals of large lists that were counted lately.
#[derive(Debug)]
pub(crate) struct Totals(Cache<(PartnerId, ListingFilter), Counted>);

#[derive(Clone, Copy, Debug)]
struct Counted {
    until: Duration,
    total: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(TOTALS_KEPT)
                .time_to_live(KEPT_MAX)
                .build(),
        )
    }
}

impl Totals {
    /// How many there are.
    pub(crate) async fn of(
        &self,
        api: &Api,
        partner: PartnerId,
        filter: &ListingFilter,
    ) -> Result<u64, StoreError> {
        let (store, clock, now) = (&api.ctx.store, &api.ctx.clock, api.ctx.now());
        let key = (partner, filter.clone());
        if let Some(counted) = self.0.get(&key).await
            && clock.monotonic() < counted.until
        {
            return Ok(counted.total);
        }
        let few = store.count_listed(partner, filter, EXACT + 1, now).await?;
        if few <= u64::from(EXACT) {
            return Ok(few);
        }
        let began = clock.monotonic();
        let total = store.count_listed(partner, filter, u32::MAX, now).await?;
        let ended = clock.monotonic();
        let took = ended.saturating_sub(began);
        let counted = Counted {
            until: ended + (took * TIMES).min(KEPT_MAX),
            total,
        };
        self.0.insert(key, counted).await;
        Ok(total)
    }
}
