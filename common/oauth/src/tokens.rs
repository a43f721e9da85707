//! [`TokenSet`]: what a grant holds, and its form inside a sealed blob.

use std::fmt;

use latchkey_domain::Timestamp;
use secrecy::{SecretSlice, SecretString};
use serde_json::{Map, Value};

/// The tokens of one generation.
#[derive(Clone)]
pub struct TokenSet {
    /// The access token.
    pub access: SecretString,
    /// The refresh token, if the provider gave one.
    pub refresh: Option<SecretString>,
    /// The type of the access token; almost always `Bearer`.
    pub token_type: String,
    /// The provider's scopes that were granted.
    pub scopes: Vec<String>,
    /// When the access token ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends, if the provider said.
    pub refresh_expires_at: Option<Timestamp>,
    /// When the answer came.
    pub issued_at: Timestamp,
    /// What the entry's `response.keep` took from the answer: the source of `{token.…}`.
    pub extra: Map<String, Value>,
}

/// Sealed bytes that hold no token set.
#[derive(Debug, thiserror::Error)]
#[error("the sealed bytes hold no token set")]
pub struct TokenSetError(#[source] serde_json::Error);

impl TokenSet {
    /// The bytes to seal: JSON with short member names.
    pub fn to_bytes(&self) -> SecretSlice<u8> {
        unimplemented!()
    }

    /// Reads what [`TokenSet::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenSetError> {
        let _ = bytes;
        unimplemented!()
    }
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSet")
            .field("scopes", &self.scopes)
            .field("expires_at", &self.expires_at)
            .field("issued_at", &self.issued_at)
            .finish_non_exhaustive()
    }
}
