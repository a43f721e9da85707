//! Learning which account of the provider was connected.

use std::time::Duration;

use ::http::{Method, Request, header};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use latchkey_domain::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{
    answer::text,
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError, insert_headers, with_token},
    spec::{IdentityMethod, IdentitySource, IdentitySpec, OauthSpec, TimeUnit},
    tokens::TokenSet,
};

/// Largest identity answer that is read, in bytes; the `max_body` to send identity requests with.
pub const IDENTITY_ANSWER_BYTES: usize = 256 * 1024;

/// Longest stable key, in bytes: a longer one is refused, because two could be cut to the same.
const KEY_BYTES: usize = 255;

/// Longest label, in characters.
const LABEL_CHARS: usize = 255;

/// Longest id token that is read, in bytes: an answer of the token endpoint holds no longer one.
const ID_TOKEN_BYTES: usize = crate::answer::TOKEN_ANSWER_BYTES;

/// How far the provider's clock may be ahead or behind when it says that an id token is over.
const CLOCK_LEEWAY: Duration = Duration::from_secs(300);

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
    /// The id token cannot be read, is over, or was made for another application.
    #[error("the id token is {0}")]
    IdToken(&'static str),
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
    client: &Client<'_>,
    tokens: &TokenSet,
    now: Timestamp,
) -> Option<Result<Identity, IdentityError>> {
    let identity = spec.identity.as_ref()?;
    match identity.source {
        IdentitySource::Http => None,
        IdentitySource::TokenResponse => {
            let said = Value::Object(tokens.extra.clone());
            let said = who(identity, &identity.workspace, &said);
            // Credentials that were given come without an answer; where there is an address it is asked.
            (said.is_ok() || identity.url.is_none()).then_some(said)
        }
        IdentitySource::IdToken => {
            let token = tokens.id_token.as_ref()?.expose_secret();
            let claims = claims(token, client.vars.client_id, now);
            Some(claims.and_then(|claims| who(identity, &identity.workspace, &claims)))
        }
    }
}

/// The claims of an id token that came from the token endpoint itself, whose TLS vouches for the issuer in place of
/// the signature (OpenID Connect Core §3.1.3.7, item 6). It must be for this client and not over.
fn claims(token: &str, client_id: &str, now: Timestamp) -> Result<Value, IdentityError> {
    let unreadable = IdentityError::IdToken("not readable");
    let mut parts = token.split('.').skip(1);
    let payload = parts.next().filter(|_| token.len() <= ID_TOKEN_BYTES);
    let payload = payload.and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
    let payload = payload.ok_or(unreadable)?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| unreadable)?;
    let is_us = |audience: &Value| audience == client_id;
    let ours = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_us),
        Some(audience) => is_us(audience),
        None => false,
    };
    if !ours {
        return Err(IdentityError::IdToken("for another application"));
    }
    let end = claims
        .get("exp")
        .and_then(|exp| TimeUnit::EpochS.read(exp, now));
    if end.is_none_or(|end| end + CLOCK_LEEWAY <= now) {
        return Err(IdentityError::IdToken("over"));
    }
    Ok(claims)
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
    let identity = spec.identity.as_ref().ok_or(IdentityError::Nobody)?;
    match identity.source {
        IdentitySource::Http => who(identity, &identity.workspace, &body),
        // The workspace stands in what the token endpoint said alone.
        IdentitySource::IdToken | IdentitySource::TokenResponse => who(identity, &[], &body),
    }
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

fn who(
    identity: &IdentitySpec,
    workspace: &[String],
    body: &Value,
) -> Result<Identity, IdentityError> {
    let first = |pointers: &[String]| pointers.iter().find_map(|pointer| text(body, pointer));
    let key = first(&identity.stable_key).ok_or(IdentityError::Nobody)?;
    let key = match first(workspace) {
        Some(workspace) => format!("{workspace}:{key}"),
        None if workspace.is_empty() => key,
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
