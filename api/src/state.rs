//! [`Api`]: what every handler shares.

use std::sync::Arc;

use latchkey_runtime::Context;
use tokio::sync::Semaphore;

use crate::{
    auth::Keys, durable::FullLanes, flowra::Totals, limits::Months, reach::Reach,
    routes::calls::Backlogs,
};

/// The context of this process and the API's own bounded caches.
#[derive(Debug)]
pub(crate) struct Api {
    /// Store, queue, keys, catalogue, clock.
    pub(crate) ctx: Context,
    /// Who a key belongs to.
    pub(crate) keys: Keys,
    /// What each partner used this month.
    pub(crate) months: Months,
    /// Which connection a call goes with.
    pub(crate) reach: Reach,
    /// Seats of callers that wait for their call.
    pub(crate) seats: Semaphore,
    /// How many unfinished jobs each partner has.
    pub(crate) backlogs: Backlogs,
    /// Queues that had no room a moment ago.
    pub(crate) full_lanes: FullLanes,
    /// How long large lists are.
    pub(crate) totals: Totals,
}

impl Api {
    /// Over this context, with empty caches.
    pub(crate) fn new(ctx: Context) -> Self {
        Self {
            keys: Keys::new(Arc::clone(&ctx.partner_changes)),
            months: Months::default(),
            reach: Reach::new(Arc::clone(&ctx.connection_changes)),
            seats: Semaphore::new(ctx.config.calls.waiting_max),
            backlogs: Backlogs::default(),
            full_lanes: FullLanes::default(),
            totals: Totals::default(),
            ctx,
        }
    }
}
