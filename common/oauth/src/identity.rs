//! Learning which account of the provider was connected.

use crate::{
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError},
    spec::OauthSpec,
    tokens::TokenSet,
};

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's key that never changes.
    pub key: String,
    /// A name for people, if there is one.
    pub label: Option<String>,
}

/// An identity answer that names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The status was not 200.
    #[error("the identity endpoint answered {0}")]
    Status(u16),
    /// The body holds none of the entry's pointers.
    #[error("the identity answer names nobody")]
    Nobody,
}

/// The request that asks who connected; `None` where the entry asks nothing.
pub fn identity_request(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<Option<HttpRequest>, RequestError> {
    let _ = (spec, client, tokens);
    unimplemented!()
}

/// Reads the answer.
pub fn parse_identity(spec: &OauthSpec, answer: &HttpAnswer) -> Result<Identity, IdentityError> {
    let _ = (spec, answer);
    unimplemented!()
}
