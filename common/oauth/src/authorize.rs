//! The address the end user's browser is sent to, and the check of the issuer that comes back.

use oauth2::{AuthUrl, ClientId, CsrfToken, RedirectUrl, Scope, basic::BasicClient};
use url::Url;

use crate::{
    request::{Client, RequestError},
    spec::{Authorize, OauthSpec},
    template::Vars,
};

/// What one connect session asks for.
#[derive(Clone, Copy)]
pub struct AuthorizeRequest<'a> {
    /// Our callback.
    pub redirect_uri: &'a str,
    /// The provider's own scopes.
    pub scopes: &'a [String],
    /// The single-use state.
    pub state: &'a str,
    /// [`crate::Pkce::challenge`]; left out where the entry switches PKCE off.
    pub challenge: &'a str,
}

/// The address to send the browser to. A parameter without a value is left out.
pub fn authorize_url(
    spec: &OauthSpec,
    client: &Client<'_>,
    request: &AuthorizeRequest<'_>,
) -> Result<Url, RequestError> {
    let entry = &spec.authorize;
    let redirect =
        RedirectUrl::new(request.redirect_uri.to_owned()).map_err(|_| RequestError::Url {
            url: request.redirect_uri.to_owned(),
        })?;
    let oauth = BasicClient::new(ClientId::new(client.vars.client_id.to_owned()))
        .set_auth_uri(AuthUrl::from_url(client.url(&entry.url)?))
        .set_redirect_uri(redirect);
    let mut building = oauth
        .authorize_url(|| CsrfToken::new(request.state.to_owned()))
        .add_scopes(request.scopes.iter().cloned().map(Scope::new));
    if entry.pkce.is_used() {
        building = building
            .add_extra_param("code_challenge", request.challenge)
            .add_extra_param("code_challenge_method", "S256");
    }
    for (name, value) in &entry.params {
        building = building.add_extra_param(name.as_str(), value.fill(&client.vars)?);
    }
    let (standard, _) = building.url();
    Ok(in_dialect(entry, &standard, request.scopes))
}

/// The standard address with parameters dropped, renamed, and scopes joined as the entry says.
fn in_dialect(entry: &Authorize, standard: &Url, scopes: &[String]) -> Url {
    let mut url = standard.clone();
    url.query_pairs_mut().clear();
    for (name, value) in standard.query_pairs() {
        if value.is_empty() || entry.drop_params.iter().any(|dropped| *dropped == name) {
            continue;
        }
        if name == "scope" {
            push_scopes(entry, scopes, &mut url);
            continue;
        }
        let renamed = entry.rename_params.get(name.as_ref());
        let name = renamed.map_or(name.as_ref(), String::as_str);
        url.query_pairs_mut().append_pair(name, &value);
    }
    url
}

/// The scopes, each class in its own parameter.
fn push_scopes(entry: &Authorize, scopes: &[String], url: &mut Url) {
    let classes = entry.scope_classes.iter();
    let classes: Vec<(&str, &str)> = classes
        .map(|(param, prefix)| (&**param, &**prefix))
        .collect();
    let classed = |scope: &str| classes.iter().any(|(_, prefix)| scope.starts_with(prefix));
    let own = entry
        .rename_params
        .get("scope")
        .map_or("scope", String::as_str);
    let plain = scopes
        .iter()
        .map(String::as_str)
        .filter(|scope| !classed(scope));
    let mut params = vec![(own, plain.collect::<Vec<_>>())];
    for (param, prefix) in &classes {
        let of = scopes.iter().filter_map(|scope| scope.strip_prefix(prefix));
        params.push((param, of.collect()));
    }
    for (name, scopes) in params.into_iter().filter(|(_, scopes)| !scopes.is_empty()) {
        let joined = scopes.join(entry.scope_separator.text());
        url.query_pairs_mut().append_pair(name, &joined);
    }
}

/// A callback that does not come from the server the browser was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Another server answered (mix-up attack).
    #[error("the callback names another issuer than the one that was asked")]
    Mismatch,
    /// The entry says that the provider sends `iss`, and it is not there.
    #[error("the callback names no issuer although this provider sends one")]
    Missing,
}

/// Checks the `iss` of a callback (RFC 9207), as an exact text. Without an issuer in the entry any passes.
/// A placeholder that nothing fills counts as a mismatch.
pub fn check_issuer(
    spec: &OauthSpec,
    vars: &Vars<'_>,
    iss: Option<&str>,
) -> Result<(), IssuerError> {
    let Some(issuer) = &spec.issuer else {
        return Ok(());
    };
    match iss {
        None if issuer.required => Err(IssuerError::Missing),
        None => Ok(()),
        Some(iss) => {
            let expected = issuer.expected.fill(vars);
            if expected.is_ok_and(|expected| expected == iss) {
                Ok(())
            } else {
                Err(IssuerError::Mismatch)
            }
        }
    }
}
