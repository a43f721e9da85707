//! The words of Latchkey as types: ids, times, states with their legal moves, plans, and the decisions of
//! the refresh protocol as pure functions. No I/O happens here. Time and randomness enter through
//! [`Clock`] and [`Entropy`], so that every other crate takes them as arguments.

pub mod backoff;
pub mod clock;
pub mod entropy;
pub mod ids;
pub mod pacing;
pub mod plan;
pub mod refresh;
pub mod states;
pub mod time;

pub use clock::{Clock, ManualClock, SystemClock};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use ids::{
    AccountId, AttemptId, AuditId, AuthConfigId, CallId, ConnectionId, DataKeyId, GrantId,
    HolderId, IdError, JobId, KeyId, PartnerId, QuotaBlockId, ReplyId, RequestId, SessionId,
    WebhookSecretId,
};
pub use time::Timestamp;
