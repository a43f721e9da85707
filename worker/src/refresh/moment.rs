//! [`Moment`]: database time, read once and carried on by this machine's monotonic clock. What the protocol
//! compares (leases, the quiet time, the end of a grace) was written by other machines, whose clocks may be
//! minutes off; the database's is the one they share.

use std::time::Duration;

use latchkey_domain::{Clock, Timestamp};
use latchkey_runtime::Context;
use latchkey_store::StoreError;

/// A reading of the database's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    database: Timestamp,
    read_at: Duration,
}

impl Moment {
    /// Reads it.
    pub(super) async fn read(ctx: &Context) -> Result<Self, StoreError> {
        let read_at = ctx.clock.monotonic();
        Ok(Self {
            database: ctx.store.db_now().await?,
            read_at,
        })
    }

    /// Database time now.
    pub(super) fn now(&self, clock: &dyn Clock) -> Timestamp {
        self.database + clock.monotonic().saturating_sub(self.read_at)
    }
}
