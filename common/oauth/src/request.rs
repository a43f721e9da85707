//! The requests to the token endpoint: exchange of a code, refresh of a token.

use std::fmt;

use secrecy::SecretString;

use crate::{
    message::HttpRequest,
    spec::OauthSpec,
    template::{TemplateError, Vars},
    tokens::TokenSet,
};

/// Client credentials with the values of placeholders: one auth config, for one connection.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The client id.
    pub id: &'a str,
    /// The client secret; a public client has none.
    pub secret: Option<&'a SecretString>,
    /// Values of placeholders.
    pub vars: Vars<'a>,
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A request that cannot be built: the catalogue entry and the auth config do not fit.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A placeholder could not be filled.
    #[error("the auth config or connection lacks a value")]
    Template(#[from] TemplateError),
    /// A filled address is none.
    #[error("'{url}' is not an absolute http(s) address")]
    Url {
        /// The text.
        url: String,
    },
    /// The entry authenticates with a secret and the auth config has none.
    #[error("the provider needs a client secret and the auth config has none")]
    NoSecret,
    /// The grant has no refresh token.
    #[error("the grant has no refresh token")]
    NoRefreshToken,
    /// The entry says no way to do this.
    #[error("the provider offers no way to {0}")]
    Unsupported(&'static str),
    /// A value does not fit into an HTTP request.
    #[error("a value does not fit into an HTTP request")]
    Http(#[from] ::http::Error),
}

/// A code as it came to the callback.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    /// The code.
    pub code: &'a SecretString,
    /// The verifier of the session; left out where the entry switches PKCE off.
    pub verifier: &'a SecretString,
    /// The callback that was named at the authorization endpoint.
    pub redirect_uri: &'a str,
}

/// The request that turns a code into tokens. It may be sent once.
pub fn exchange_request(
    spec: &OauthSpec,
    client: &Client<'_>,
    exchange: &CodeExchange<'_>,
) -> Result<HttpRequest, RequestError> {
    let _ = (spec, client, exchange);
    unimplemented!()
}

/// The request that refreshes a grant.
pub fn refresh_request(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<HttpRequest, RequestError> {
    let _ = (spec, client, tokens);
    unimplemented!()
}
