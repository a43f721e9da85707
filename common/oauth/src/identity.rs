//! Learning which account of the provider was connected.

use ::http::{Method, Request, header};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    answer::text,
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError, bearer, insert_headers},
    spec::OauthSpec,
    tokens::TokenSet,
};

/// Largest identity answer that is read, in bytes; the `max_body` to send identity requests with.
pub const IDENTITY_ANSWER_BYTES: usize = 256 * 1024;

/// Longest stable key, in bytes: a longer one is refused, because two could be cut to the same.
const KEY_BYTES: usize = 255;

/// Longest label, in characters.
const LABEL_CHARS: usize = 255;

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's key that never changes.
    pub key: String,
    /// A name for people, if there is one.
    pub label: Option<String>,
}

/// An identity answer that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The status was not a success.
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
    let Some(identity) = &spec.identity else {
        return Ok(None);
    };
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(client.url(&identity.url)?.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::AUTHORIZATION, bearer(&tokens.access)?)
        .body(Bytes::new())?;
    insert_headers(request.headers_mut(), &identity.headers)?;
    HttpRequest::to_its_host(request).map(Some)
}

/// Reads the answer.
pub fn parse_identity(spec: &OauthSpec, answer: &HttpAnswer) -> Result<Identity, IdentityError> {
    if !answer.status.is_success() {
        return Err(IdentityError::Status(answer.status.as_u16()));
    }
    let identity = spec.identity.as_ref().ok_or(IdentityError::Nobody)?;
    if answer.body.len() > IDENTITY_ANSWER_BYTES {
        return Err(IdentityError::Nobody);
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| IdentityError::Nobody)?;
    let first = |pointers: &[String]| pointers.iter().find_map(|pointer| text(&body, pointer));
    let key = first(&identity.stable_key)
        .filter(|key| key.len() <= KEY_BYTES && !key.chars().any(char::is_control))
        .ok_or(IdentityError::Nobody)?;
    let label = first(&identity.label).map(|label| {
        let shown = label.chars().filter(|c| !c.is_control());
        shown.take(LABEL_CHARS).collect()
    });
    Ok(Identity { key, label })
}
