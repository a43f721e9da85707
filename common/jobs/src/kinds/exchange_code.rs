//! Exchange the code of a connect session for tokens: once (`architecture.md` §5, Connect).

use std::time::Duration;

use latchkey_domain::{SessionId, backoff::Backoff};
use serde::{Deserialize, Serialize};

use crate::job::{JobKind, Urgency};

/// The session whose sealed code waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExchangeCode {
    /// Which session.
    pub session: SessionId,
}

impl JobKind for ExchangeCode {
    const KIND: &'static str = "exchange_code";
    const URGENCY: Urgency = Urgency::Interactive;
    // One token request and one identity request of 30 s each, and the writes.
    const TIMEOUT: Duration = Duration::from_secs(75);
    // A code is sent once; a second attempt only finds that out and fails the session.
    const MAX_ATTEMPTS: u32 = 2;
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(5),
    };
}

/// What the browser that waits at the callback is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeAnswer {
    /// The error code of the redirect; absent when the session completed.
    pub error: Option<String>,
}
