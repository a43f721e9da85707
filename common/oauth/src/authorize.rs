//! The address the end user's browser is sent to, and the check of the issuer that comes back.

use url::Url;

use crate::{
    request::{Client, RequestError},
    spec::OauthSpec,
    template::Vars,
};

/// What one connect session asks for.
#[derive(Clone, Copy, Debug)]
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

/// The address to send the browser to.
pub fn authorize_url(
    spec: &OauthSpec,
    client: &Client<'_>,
    request: &AuthorizeRequest<'_>,
) -> Result<Url, RequestError> {
    let _ = (spec, client, request);
    unimplemented!()
}

/// A callback that does not come from the server the browser was sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    let _ = (spec, vars, iss);
    unimplemented!()
}
