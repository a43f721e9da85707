//! Make a connection of credentials that were given rather than granted at a consent page: tokens brought from
//! elsewhere, keys, passwords. They are tried first, without spending a refresh token.

use std::time::Duration;

use latchkey_domain::{SessionId, backoff::Backoff};
use serde::{Deserialize, Serialize};

use crate::job::{JobKind, Urgency};

/// The session whose sealed credentials wait. Its outcome is told like an exchange's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdoptCredentials {
    /// Which session.
    pub session: SessionId,
}

impl JobKind for AdoptCredentials {
    const KIND: &'static str = "adopt_credentials";
    const URGENCY: Urgency = Urgency::Interactive;
    // Two identity requests of 15 s each, and the writes.
    const TIMEOUT: Duration = Duration::from_secs(75);
    // Asking who they belong to spends nothing, so it may be asked again.
    const MAX_ATTEMPTS: u32 = 2;
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(5),
    };
}
