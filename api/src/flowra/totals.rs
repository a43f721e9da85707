//! [`Totals`]: how many connected accounts a list has in all. Few are counted each time. Many are counted once and
//! believed for a while that grows with what counting took; then one page has them counted anew, and none waits for
//! that while the last total is young enough to show.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use latchkey_domain::PartnerId;
use latchkey_store::{ListingFilter, StoreError};
use latchkey_telemetry::Chain;
use moka::future::Cache;

use crate::state::Api;

/// Counted exactly each time up to this many.
const EXACT: u32 = 1000;
/// A total is believed for so many times what counting took, so that counting takes some half percent of the time.
const TIMES: u32 = 200;
/// At the longest.
const BELIEVED_MAX: Duration = Duration::from_secs(60);
/// How old a total may be that is shown while it is counted anew. The API document says so.
const SHOWN_MAX: Duration = Duration::from_secs(120);
/// Totals kept, some 300 bytes each.
const TOTALS_KEPT: u64 = 10_000;

type List = (PartnerId, ListingFilter);

/// The totals of large lists that were counted lately.
#[derive(Debug)]
pub(crate) struct Totals(Cache<List, Arc<Counted>>);

#[derive(Debug)]
struct Counted {
    total: u64,
    /// On the monotonic clock.
    at: Duration,
    believed_for: Duration,
    /// Whether it is being counted anew.
    again: AtomicBool,
}

impl Default for Totals {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(TOTALS_KEPT)
                .time_to_live(SHOWN_MAX)
                .build(),
        )
    }
}

impl Totals {
    /// How many there are.
    pub(crate) async fn of(
        &self,
        api: &Arc<Api>,
        partner: PartnerId,
        filter: &ListingFilter,
    ) -> Result<u64, StoreError> {
        let list = (partner, filter.clone());
        if let Some(counted) = self.0.get(&list).await {
            let age = api.ctx.clock.monotonic().saturating_sub(counted.at);
            if age < counted.believed_for {
                return Ok(counted.total);
            }
            if age < SHOWN_MAX {
                if !counted.again.swap(true, Ordering::Relaxed) {
                    tokio::spawn(count_again(Arc::clone(api), list, Arc::clone(&counted)));
                }
                return Ok(counted.total);
            }
            self.0.invalidate(&list).await;
        }
        let (store, now) = (&api.ctx.store, api.ctx.now());
        let few = store
            .count_listed_up_to(partner, filter, EXACT + 1, now)
            .await?;
        if few <= u64::from(EXACT) {
            return Ok(few);
        }
        // Pages that ask in the same moment wait for one count.
        let counted = self.0.try_get_with(list.clone(), count(api, &list)).await;
        counted.map(|c| c.total).map_err(|error| (*error).clone())
    }
}

async fn count(api: &Api, (partner, filter): &List) -> Result<Arc<Counted>, StoreError> {
    let (clock, now) = (&api.ctx.clock, api.ctx.now());
    let at = clock.monotonic();
    let total = api.ctx.store.count_listed(*partner, filter, now).await?;
    let took = clock.monotonic().saturating_sub(at);
    Ok(Arc::new(Counted {
        total,
        at,
        believed_for: (took * TIMES).min(BELIEVED_MAX),
        again: AtomicBool::new(false),
    }))
}

async fn count_again(api: Arc<Api>, list: List, before: Arc<Counted>) {
    match count(&api, &list).await {
        Ok(counted) => api.totals.0.insert(list, counted).await,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), partner = %list.0, "a list was not counted anew");
            before.again.store(false, Ordering::Relaxed);
        }
    }
}
