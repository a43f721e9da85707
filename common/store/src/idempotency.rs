//! Idempotency keys: the first answer to a POST is kept, sealed, and given again.

use latchkey_domain::{PartnerId, Timestamp};

use crate::{
    Result, Store,
    field::{record, state},
};

/// Whether the first request is still running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdempotencyState {
    /// It is.
    InFlight,
    /// Its answer is kept.
    Done,
}

impl IdempotencyState {
    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Done => "done",
        }
    }

    /// The state of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "in_flight" => Some(Self::InFlight),
            "done" => Some(Self::Done),
            _ => None,
        }
    }
}
state!(IdempotencyState);

record! {
    /// One idempotency key of a partner on a route.
    pub struct IdempotencyRow in "idempotency_keys" by "key" {
        /// Whose request.
        pub partner_id: PartnerId,
        /// Method and path of the request.
        pub route: String,
        /// The key the client chose.
        pub key: String,
        /// SHA-256 of the request.
        pub request_hash: [u8; 32],
        /// Whether the first request is still running.
        pub state: IdempotencyState,
        /// The answer's status.
        pub status: Option<u16>,
        /// The answer, sealed.
        pub answer: Option<Vec<u8>>,
        /// When the first request came.
        pub created_at: Timestamp,
        /// A request still in flight then died with its process: the key may be taken over.
        pub locked_until: Timestamp,
        /// When the key is forgotten.
        pub expires_at: Timestamp,
    }
}

/// What [`Store::begin_idempotent`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// The key is ours: do the work, then complete or forget it.
    Ours,
    /// The key was used before (in flight, done, or with another request: compare the hashes).
    Before(Box<IdempotencyRow>),
}

impl Store {
    /// Takes a key, or returns what it holds. An expired key counts as none; one in flight past its lock,
    /// with the same request, is taken over.
    pub async fn begin_idempotent(&self, row: &IdempotencyRow) -> Result<Begun> {
        unimplemented!()
    }

    /// Keeps the answer; `false` if the key was forgotten meanwhile or is done.
    pub async fn complete_idempotent(
        &self,
        partner: PartnerId,
        route: &str,
        key: &str,
        status: u16,
        answer: &[u8],
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Frees a key whose request failed without effect.
    pub async fn forget_idempotent(
        &self,
        partner: PartnerId,
        route: &str,
        key: &str,
    ) -> Result<()> {
        unimplemented!()
    }

    /// Deletes up to `limit` keys that expired; returns how many.
    pub async fn expire_idempotency(&self, now: Timestamp, limit: u32) -> Result<u64> {
        unimplemented!()
    }
}
