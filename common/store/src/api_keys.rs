//! API keys: a public prefix to find the row by, and the peppered hash to compare. The key itself is
//! shown once and never stored.

use latchkey_domain::{KeyId, PartnerId, Timestamp};

use crate::{
    PartnerRow, Result, Store,
    field::{record, state},
};

/// What a key reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// Every provider; billed.
    Live,
    /// The sandbox provider only; never billed.
    Test,
}

impl KeyMode {
    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The mode of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}
state!(KeyMode);

record! {
    /// An API key's row.
    pub struct ApiKeyRow in "api_keys" by "id" {
        /// Its id.
        pub id: KeyId,
        /// Whose key it is.
        pub partner_id: PartnerId,
        /// The public prefix by which it is found (`sk_live_` and 8 characters).
        pub lookup: String,
        /// HMAC-SHA256 of the key with the pepper.
        pub hash: Vec<u8>,
        /// What it reaches.
        pub mode: KeyMode,
        /// A name its owner gave it.
        pub name: Option<String>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it was revoked.
        pub revoked_at: Option<Timestamp>,
        /// When it was last used, to the minute.
        pub last_used_at: Option<Timestamp>,
    }
}

impl Store {
    /// Adds a key unless the partner already has `max_live` unrevoked keys of that mode; says whether.
    pub async fn insert_api_key(&self, row: &ApiKeyRow, max_live: u32) -> Result<bool> {
        unimplemented!()
    }

    /// The unrevoked keys with this public prefix, each with its partner. The prefix is not secret: the
    /// caller compares hashes.
    pub async fn find_api_keys(&self, lookup: &str) -> Result<Vec<(ApiKeyRow, PartnerRow)>> {
        unimplemented!()
    }

    /// A partner's keys, newest first, revoked ones included.
    pub async fn list_api_keys(&self, partner: PartnerId) -> Result<Vec<ApiKeyRow>> {
        unimplemented!()
    }

    /// Revokes a key; `false` if there is no such living key.
    pub async fn revoke_api_key(
        &self,
        partner: PartnerId,
        id: KeyId,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Notes that a key was used. Call it at most once a minute and key.
    pub async fn touch_api_key(&self, partner: PartnerId, id: KeyId, now: Timestamp) -> Result<()> {
        unimplemented!()
    }
}
