//! [`TokenSet`]: what a grant holds, and its form inside a sealed blob.

use std::{borrow::Cow, fmt};

use latchkey_domain::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
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

/// The sealed form. Members may be added; none may change its meaning.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    access: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    refresh: Option<Cow<'a, str>>,
    token_type: String,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_expires_at: Option<Timestamp>,
    issued_at: Timestamp,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    extra: Map<String, Value>,
}

impl TokenSet {
    /// The bytes to seal: a JSON object.
    pub fn to_bytes(&self) -> SecretSlice<u8> {
        let stored = Stored {
            access: self.access.expose_secret().into(),
            refresh: self.refresh.as_ref().map(|r| r.expose_secret().into()),
            token_type: self.token_type.clone(),
            scopes: self.scopes.clone(),
            expires_at: self.expires_at,
            refresh_expires_at: self.refresh_expires_at,
            issued_at: self.issued_at,
            extra: self.extra.clone(),
        };
        #[expect(
            clippy::expect_used,
            reason = "strings, numbers and string keys always serialize"
        )]
        let bytes = serde_json::to_vec(&stored).expect("a token set is plain JSON");
        bytes.into()
    }

    /// Reads what [`TokenSet::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenSetError> {
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(TokenSetError)?;
        Ok(Self {
            access: stored.access.into_owned().into(),
            refresh: stored.refresh.map(|refresh| refresh.into_owned().into()),
            token_type: stored.token_type,
            scopes: stored.scopes,
            expires_at: stored.expires_at,
            refresh_expires_at: stored.refresh_expires_at,
            issued_at: stored.issued_at,
            extra: stored.extra,
        })
    }
}

/// No token, and nothing of what was kept.
impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSet")
            .field("scopes", &self.scopes)
            .field("expires_at", &self.expires_at)
            .field("issued_at", &self.issued_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> TokenSet {
        TokenSet {
            access: "at-\"1\"".into(),
            refresh: Some("rt-1".into()),
            token_type: "Bearer".to_owned(),
            scopes: vec!["a".to_owned()],
            expires_at: Some(Timestamp::from_secs(100)),
            refresh_expires_at: None,
            issued_at: Timestamp::from_secs(10),
            extra: Map::from_iter([("shard".to_owned(), Value::from("eu1"))]),
        }
    }

    #[test]
    fn the_sealed_form_is_pinned_and_reads_back() {
        let bytes = set().to_bytes();
        let text = std::str::from_utf8(bytes.expose_secret()).unwrap();
        insta::assert_snapshot!(text, @r#"{"access":"at-\"1\"","refresh":"rt-1","token_type":"Bearer","scopes":["a"],"expires_at":100000000,"issued_at":10000000,"extra":{"shard":"eu1"}}"#);
        let back = TokenSet::from_bytes(bytes.expose_secret()).unwrap();
        assert_eq!(back.access.expose_secret(), "at-\"1\"");
        assert_eq!(back.refresh.unwrap().expose_secret(), "rt-1");
        assert_eq!(back.expires_at, set().expires_at);
        assert_eq!(back.extra, set().extra);
        assert!(TokenSet::from_bytes(b"{}").is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", set());
        assert!(!shown.contains("at-") && !shown.contains("rt-1") && !shown.contains("eu1"));
    }
}
