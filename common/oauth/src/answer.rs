//! Reading what a token endpoint answers, whatever its form, and classing what it refuses.

use latchkey_domain::{
    Timestamp,
    refresh::{Class, Ended},
};

use crate::{message::HttpAnswer, spec::OauthSpec, tokens::TokenSet};

/// After this many failures in a row a 4xx that no rule knows counts as permanent: one retry after the
/// store was read again, and one more in case the first met the same passing fault.
pub const SUSPICIOUS_LIMIT: u32 = 3;

/// A token endpoint's refusal, or an answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token endpoint answered {status} {code}")]
pub struct TokenError {
    /// The HTTP status.
    pub status: u16,
    /// The provider's error code, cleaned; `unreadable_answer`, `http_502` and the like where it gave none.
    pub code: String,
    /// The provider's words, cleaned, cut, and without anything that looks like a secret.
    pub description: Option<String>,
    /// What it means, unless it is suspicious: see [`TokenError::class`].
    pub class: Class,
    /// A 4xx that no rule knows.
    pub suspicious: bool,
    /// How this presentation ended: refused, or not known (a 5xx, a 200 that cannot be read).
    pub ended: Ended,
}

impl TokenError {
    /// What the error means after this many failures in a row (this one not counted): what no rule knows is
    /// transient until [`SUSPICIOUS_LIMIT`], then permanent.
    pub fn class_after(&self, failures: u32) -> Class {
        if self.suspicious && failures + 1 >= SUSPICIOUS_LIMIT {
            return Class::Permanent;
        }
        self.class
    }
}

/// Reads the answer to an exchange (`previous` is `None`) or a refresh (`previous` gives what the answer
/// leaves out: the refresh token, its end, the scopes, and kept members).
pub fn parse_tokens(
    spec: &OauthSpec,
    answer: &HttpAnswer,
    previous: Option<&TokenSet>,
    now: Timestamp,
) -> Result<TokenSet, TokenError> {
    let _ = (spec, answer, previous, now);
    unimplemented!()
}
