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

/// When the token ends, by the answer's `exp` (RFC 7662 §2.2, seconds since the epoch); `None` where the answer does
/// not say. A token that was given a moment ago and is told to be inactive, or over, is one of which this client may
/// not be told (§2.2): to take that for its end would refresh it without pause.
pub fn parse_introspection(answer: &HttpAnswer, now: Timestamp) -> Option<Timestamp> {
    let members = members(&answer.body).filter(|_| answer.status.is_success())?;
    if members.get("active") != Some(&Value::Bool(true)) {
        return None;
    }
    let end = TimeUnit::EpochS.read(members.get("exp")?, now)?;
    (end > now).then_some(end)
}
