//! Asking the provider when an access token ends, where no answer of its token endpoint says so (RFC 7662).

use latchkey_domain::Timestamp;
use oauth2::{AccessToken, IntrospectionUrl};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{
    answer::members,
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError, capture, captured, oauth_client, token_request},
    spec::{OauthSpec, RefreshTrigger, TimeUnit},
    tokens::TokenSet,
};

/// The request that asks about the access token; `None` where the entry does not ask.
///
/// # Errors
/// [`RequestError`]: the entry and the auth config do not fit.
pub fn introspect_request(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<Option<HttpRequest>, RequestError> {
    let asks = spec.refresh.trigger == RefreshTrigger::Introspect;
    let Some(introspect) = spec.introspect.as_ref().filter(|_| asks) else {
        return Ok(None);
    };
    let auth = introspect.auth.unwrap_or(spec.token.auth);
    let url = IntrospectionUrl::from_url(client.url(&introspect.url)?);
    let oauth = oauth_client(client, auth)?.set_introspection_url(url);
    let access = AccessToken::new(tokens.access.expose_secret().to_owned());
    let asked = oauth
        .introspect(&access)
        .set_token_type_hint("access_token");
    token_request(captured(asked.request(&capture))?, &spec.token, client).map(Some)
}

/// When the token ends, by the answer's `exp` (RFC 7662 §2.2, seconds since the epoch): now for one that is not
/// active any more; `None` where the answer does not say.
pub fn parse_introspection(answer: &HttpAnswer, now: Timestamp) -> Option<Timestamp> {
    let members = members(&answer.body).filter(|_| answer.status.is_success())?;
    match members.get("active")? {
        Value::Bool(true) => TimeUnit::EpochS.read(members.get("exp")?, now),
        Value::Bool(false) => Some(now),
        _ => None,
    }
}
