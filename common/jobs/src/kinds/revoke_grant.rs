//! Revoke a disconnected grant at its provider, and keep the receipt (`architecture.md` §5, Revoke).

use std::time::Duration;

use latchkey_domain::{ConnectionId, GrantId, backoff::Backoff};
use serde::{Deserialize, Serialize};

use crate::job::{JobKind, Urgency};

/// The grant to revoke.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeGrant {
    /// Which grant.
    pub grant: GrantId,
    /// Of which connection.
    pub connection: ConnectionId,
}

impl JobKind for RevokeGrant {
    const KIND: &'static str = "revoke_grant";
    const URGENCY: Urgency = Urgency::Background;
    const TIMEOUT: Duration = Duration::from_secs(75);
    // With full jitter up to an hour this goes on for about a day before it is called impossible.
    const MAX_ATTEMPTS: u32 = 40;
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(3600),
    };
}

/// What became of the revocation: the job's result (this struct as JSON, sealed), shown by `GET /jobs/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationReceipt {
    /// `confirmed`, `already_dead` (nothing was left to revoke), `not_supported` (the provider has no
    /// endpoint), `shared` (other connections live on the same grant) or `impossible` (the provider refused
    /// for good, or went on failing until the attempts were spent; the job has failed then).
    pub outcome: String,
    /// What the provider answered to each request, in order.
    pub statuses: Vec<u16>,
    /// Where the end user can remove the app by hand, for providers without an endpoint.
    pub help_url: Option<String>,
}
