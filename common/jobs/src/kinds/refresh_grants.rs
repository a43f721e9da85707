//! Refresh a batch of grants through the protocol (`architecture.md` §6).

use std::time::Duration;

use latchkey_domain::{GrantId, PartnerId, backoff::Backoff, refresh::Need};
use serde::{Deserialize, Serialize};

use crate::job::{JobKind, Urgency};

/// Grants in one job: 25–100 (`queue.md` §4b); more would hold a slot too long.
pub const MAX_GRANTS_PER_JOB: usize = 100;

/// The grants to refresh. The rows say whether they still need it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshGrants {
    /// Which grants, each with its partner: they may belong to several, and nothing is read without one.
    pub grants: Vec<(PartnerId, GrantId)>,
    /// Whether a partner asked for it (`POST …/refresh`) rather than the clock.
    pub asked: bool,
}

impl RefreshGrants {
    /// Why the protocol runs: nobody waits with a dead token here.
    pub const NEED: Need = Need::Due;
}

impl JobKind for RefreshGrants {
    const KIND: &'static str = "refresh_grants";
    const URGENCY: Urgency = Urgency::Refresh;
    // A lease of 40 s, for batches that go in two waves when send slots are few.
    const TIMEOUT: Duration = Duration::from_secs(90);
    const MAX_ATTEMPTS: u32 = 5;
    const BACKOFF: Backoff = Backoff::REFRESH;
}
