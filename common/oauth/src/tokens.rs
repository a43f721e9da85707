//! [`TokenSet`]: what a grant holds, and its form inside a sealed blob.

use std::{borrow::Cow, fmt};

use latchkey_domain::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::spec::Renewal;

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
    /// When no refresh helps any more, counted from the consent, if the entry knows such an end.
    pub ends_at: Option<Timestamp>,
    /// The class of these tokens, where the entry tells several apart; else empty.
    pub class: String,
    /// Tokens of other classes that came with the same consent.
    pub also: Vec<ClassToken>,
    /// What the entry's `response.keep` took from the answer: the source of `{token.…}`.
    pub extra: Map<String, Value>,
    /// The id token that came with a code's answer, where the entry reads from it who connected. Not kept.
    pub id_token: Option<SecretString>,
}

/// A token of another class, with a refresh token and an end of its own.
#[derive(Clone)]
pub struct ClassToken {
    /// Its class.
    pub class: String,
    /// The access token.
    pub access: SecretString,
    /// The refresh token, if there is one.
    pub refresh: Option<SecretString>,
    /// When the access token ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// No token.
impl fmt::Debug for ClassToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassToken")
            .field("class", &self.class)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    class: String,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    also: Vec<StoredClass<'a>>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    extra: Map<String, Value>,
}

/// The sealed form of [`ClassToken`].
#[derive(Serialize, Deserialize)]
struct StoredClass<'a> {
    class: String,
    #[serde(borrow)]
    access: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    refresh: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
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
            ends_at: self.ends_at,
            class: self.class.clone(),
            also: self.also.iter().map(ClassToken::stored).collect(),
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
            ends_at: stored.ends_at,
            class: stored.class,
            also: stored.also.into_iter().map(ClassToken::read).collect(),
            extra: stored.extra,
            id_token: None,
        })
    }

    /// The access token of a class, or the grant's own where none is named.
    pub fn access_of(&self, class: Option<&str>) -> Option<&SecretString> {
        match class {
            None => Some(&self.access),
            Some(class) if class == self.class => Some(&self.access),
            Some(class) => {
                let found = self.also.iter().find(|token| token.class == class);
                found.map(|token| &token.access)
            }
        }
    }

    /// Which token is refreshed next: the one that ends first and can be. `None` is the grant's own, a number
    /// one of [`TokenSet::also`]. Each attempt presents one refresh token, so that each answer is kept for
    /// itself.
    pub(crate) fn next(&self) -> Option<usize> {
        let own = self.refresh.as_ref().map(|_| (self.expires_at, None));
        let others = self.also.iter().enumerate();
        let others = others
            .filter(|(_, token)| token.refresh.is_some())
            .map(|(place, token)| (token.expires_at, Some(place)));
        let late = |end: Option<Timestamp>| end.map_or(i64::MAX, Timestamp::as_micros);
        own.into_iter()
            .chain(others)
            .min_by_key(|(end, _)| late(*end))
            .and_then(|(_, place)| place)
    }

    /// The refresh token that is presented next.
    pub(crate) fn next_refresh(&self) -> Option<&SecretString> {
        match self.next() {
            None => self.refresh.as_ref(),
            Some(place) => self.also[place].refresh.as_ref(),
        }
    }

    /// Whether anything can be refreshed.
    pub fn is_refreshable(&self) -> bool {
        self.next_refresh().is_some()
    }

    /// By when a refresh must have been made, as the entry says: before the first access token that can be
    /// renewed ends, before the refresh token does, and before it has lain idle for too long. `None`: never,
    /// or only when a call is refused.
    pub fn refresh_by(&self, renewal: Renewal) -> Option<Timestamp> {
        if !self.is_refreshable() {
            return None;
        }
        let own = self.expires_at.filter(|_| self.refresh.is_some());
        let others = self.also.iter().filter(|token| token.refresh.is_some());
        let access = std::iter::once(own)
            .chain(others.map(|token| token.expires_at))
            .flatten()
            .filter(|_| renewal.by_clock)
            .map(|end| end.minus(renewal.lead).max(self.issued_at));
        access
            .chain(self.refresh_expires_at)
            .chain(renewal.keepalive.map(|idle| self.issued_at + idle))
            .min()
    }
}

impl ClassToken {
    fn stored(&self) -> StoredClass<'_> {
        StoredClass {
            class: self.class.clone(),
            access: self.access.expose_secret().into(),
            refresh: self.refresh.as_ref().map(|r| r.expose_secret().into()),
            expires_at: self.expires_at,
        }
    }

    fn read(stored: StoredClass<'_>) -> Self {
        Self {
            class: stored.class,
            access: stored.access.into_owned().into(),
            refresh: stored.refresh.map(|refresh| refresh.into_owned().into()),
            expires_at: stored.expires_at,
        }
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
            ends_at: None,
            class: String::new(),
            also: Vec::new(),
            extra: Map::from_iter([("shard".to_owned(), Value::from("eu1"))]),
            id_token: Some("it-1".into()),
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
        assert!(back.id_token.is_none());
        assert!(TokenSet::from_bytes(b"{}").is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", set());
        assert!(!shown.contains("at-") && !shown.contains("rt-1") && !shown.contains("eu1"));
        assert!(!shown.contains("it-1"));
    }
}
