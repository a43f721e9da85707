//! Learning which account of the provider was connected.

use ::http::{Method, Request, header};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    answer::text,
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError, insert_headers, with_token},
    spec::{IdentityMethod, IdentitySource, IdentitySpec, OauthSpec},
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
    let asked = spec
        .identity
        .as_ref()
        .and_then(|identity| Some((identity, identity.url.as_ref()?)));
    let Some((identity, url)) = asked else {
        return Ok(None);
    };
    let (method, body) = match (identity.method, &identity.body) {
        (IdentityMethod::Get, _) => (Method::GET, Bytes::new()),
        (IdentityMethod::Post, None) => (Method::POST, Bytes::new()),
        (IdentityMethod::Post, Some(body)) => (Method::POST, body.0.to_string().into()),
    };
    let (name, value) = with_token(&identity.token_header, &tokens.access)?;
    let mut request = Request::builder()
        .method(method)
        .uri(client.url(url)?.as_str())
        .header(header::ACCEPT, "application/json")
        .header(name, value);
    if identity.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let mut request = request.body(body)?;
    insert_headers(request.headers_mut(), &identity.headers)?;
    HttpRequest::to_its_host(request).map(Some)
}

/// Who connected, where the token endpoint said it; `None` where an address of its own is asked.
pub fn identity_in_tokens(
    spec: &OauthSpec,
    tokens: &TokenSet,
) -> Option<Result<Identity, IdentityError>> {
    let identity = spec.identity.as_ref()?;
    (identity.source == IdentitySource::TokenResponse)
        .then(|| who(identity, &Value::Object(tokens.extra.clone())))
}

/// The request that lists the sites of which the connection is for one; `None` where there is no such choice.
pub fn sites_request(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<Option<HttpRequest>, RequestError> {
    let identity = spec.identity.as_ref();
    let Some((identity, pick)) = identity.and_then(|i| Some((i, i.pick.as_ref()?))) else {
        return Ok(None);
    };
    let (name, value) = with_token(&identity.token_header, &tokens.access)?;
    let request = Request::builder()
        .method(Method::GET)
        .uri(client.url(&pick.url)?.as_str())
        .header(header::ACCEPT, "application/json")
        .header(name, value)
        .body(Bytes::new())?;
    HttpRequest::to_its_host(request).map(Some)
}

/// Reads the list of sites: the id to keep, under its name, and the site's name for people. With several the
/// first serves: the provider lists the one that was consented to last, or the only one.
pub fn parse_sites(
    spec: &OauthSpec,
    answer: &HttpAnswer,
) -> Result<(String, String, Option<String>), IdentityError> {
    let pick = spec
        .identity
        .as_ref()
        .and_then(|identity| identity.pick.as_ref());
    let pick = pick.ok_or(IdentityError::Nobody)?;
    let body = read(answer)?;
    let site = body
        .pointer(&pick.list)
        .and_then(|list| list.get(0))
        .ok_or(IdentityError::Nobody)?;
    let id = text(site, &pick.id)
        .filter(|id| is_key(id) && is_segment(id))
        .ok_or(IdentityError::Nobody)?;
    Ok((pick.store_as.clone(), id, text(site, &pick.label)))
}

/// Whether a text may stand in an address as one segment, whatever is around it.
fn is_segment(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    id.bytes().all(plain)
}

/// Reads the answer.
pub fn parse_identity(spec: &OauthSpec, answer: &HttpAnswer) -> Result<Identity, IdentityError> {
    let body = read(answer)?;
    who(spec.identity.as_ref().ok_or(IdentityError::Nobody)?, &body)
}

fn read(answer: &HttpAnswer) -> Result<Value, IdentityError> {
    if !answer.status.is_success() {
        return Err(IdentityError::Status(answer.status.as_u16()));
    }
    if answer.body.len() > IDENTITY_ANSWER_BYTES {
        return Err(IdentityError::Nobody);
    }
    serde_json::from_slice(&answer.body).map_err(|_| IdentityError::Nobody)
}

fn is_key(key: &str) -> bool {
    key.len() <= KEY_BYTES && !key.chars().any(char::is_control)
}

fn who(identity: &IdentitySpec, body: &Value) -> Result<Identity, IdentityError> {
    let first = |pointers: &[String]| pointers.iter().find_map(|pointer| text(body, pointer));
    let key = first(&identity.stable_key).ok_or(IdentityError::Nobody)?;
    let key = match first(&identity.workspace) {
        Some(workspace) => format!("{workspace}:{key}"),
        None if identity.workspace.is_empty() => key,
        None => return Err(IdentityError::Nobody),
    };
    if !is_key(&key) {
        return Err(IdentityError::Nobody);
    }
    let label = first(&identity.label).map(|label| {
        let shown = label.chars().filter(|c| !c.is_control());
        shown.take(LABEL_CHARS).collect()
    });
    Ok(Identity { key, label })
}
