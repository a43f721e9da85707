//! [`Connections`]: the connections that calls went with lately, so that a warm call reads no row. One is trusted
//! for a second, like its token; what changes in this process shows at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use latchkey_domain::{Clock, ConnectionId, PartnerId};
use latchkey_runtime::Context;
use latchkey_store::{Connection, Store, StoreError};
use moka::sync::Cache;

/// How long one is trusted without reading its row: disconnecting in another process shows after it at the
/// latest.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// Connections kept, some 2 KiB each.
const KEPT: u64 = 10_000;

/// The connections that were read lately.
#[derive(Debug)]
pub(crate) struct Connections {
    store: Store,
    clock: Arc<dyn Clock>,
    kept: Cache<ConnectionId, Kept>,
    /// Changes of accounts and connections made in this process.
    changes: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Kept {
    at: Duration,
    changes: u64,
    connection: Arc<Connection>,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            store: ctx.store.clone(),
            clock: Arc::clone(&ctx.clock),
            kept: Cache::new(KEPT),
            changes: Arc::clone(&ctx.connection_changes),
        }
    }

    /// A connection of the partner's, at most a moment old.
    pub(crate) async fn get(
        &self,
        partner: PartnerId,
        id: ConnectionId,
    ) -> Result<Option<Arc<Connection>>, StoreError> {
        let at = self.clock.monotonic();
        let changes = self.changes.load(Ordering::Acquire);
        if let Some(kept) = self.kept.get(&id)
            && kept.changes == changes
            && at.saturating_sub(kept.at) < TRUSTED_FOR
            && kept.connection.row.partner_id == partner
        {
            return Ok(Some(kept.connection));
        }
        let found = self.store.get_connection(partner, id).await?;
        let Some(connection) = found.map(Arc::new) else {
            self.kept.invalidate(&id);
            return Ok(None);
        };
        let kept = Kept {
            at,
            changes,
            connection: Arc::clone(&connection),
        };
        self.kept.insert(id, kept);
        Ok(Some(connection))
    }
}
