//! Revoking tokens at the provider, as the entry says, and reading whether it worked.

use latchkey_domain::{Timestamp, refresh::Class};

use crate::{
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError},
    spec::OauthSpec,
    tokens::TokenSet,
};

/// Which token a revocation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The refresh token.
    Refresh,
    /// The access token.
    Access,
}

/// One revocation to send.
#[derive(Debug)]
pub struct RevokeRequest {
    /// The token it names.
    pub kind: TokenKind,
    /// The request.
    pub request: HttpRequest,
}

/// The revocations of a grant, in the order to send them. [`RequestError::Unsupported`] where the entry
/// knows no way.
pub fn revoke_requests(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<Vec<RevokeRequest>, RequestError> {
    let _ = (spec, client, tokens);
    unimplemented!()
}

/// What became of one revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// The provider confirmed.
    Confirmed,
    /// The token was already gone.
    AlreadyGone,
    /// Not done; the class says whether and when to try again.
    Failed {
        /// The status.
        status: u16,
        /// The provider's error code, cleaned.
        code: String,
        /// Permanent: never. Operator: when the auth config works again. Else later.
        class: Class,
    },
}

/// Reads the answer to a revocation.
pub fn read_revocation(spec: &OauthSpec, answer: &HttpAnswer, now: Timestamp) -> RevokeOutcome {
    let _ = (spec, answer, now);
    unimplemented!()
}
