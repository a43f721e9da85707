//! The requests to the token endpoint: exchange of a code, refresh of a token. The oauth2 crate writes the
//! canonical ones; a closure in the place of its HTTP client takes them out, unsent.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope, TokenUrl,
    basic::BasicClient,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    message::{AllowedHosts, HttpRequest},
    spec::{ClientAuth, OauthSpec, RedirectUri, Token, TokenBody, TokenHeader},
    template::{Template, TemplateError, Vars},
    tokens::TokenSet,
};

/// Client credentials with the values of placeholders: one auth config, for one connection.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The client secret; a public client has none.
    pub secret: Option<&'a SecretString>,
    /// Values of placeholders, and the client id.
    pub vars: Vars<'a>,
}

/// The id alone.
impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.vars.client_id)
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
    let redirect =
        RedirectUrl::new(exchange.redirect_uri.to_owned()).map_err(|_| RequestError::Url {
            url: exchange.redirect_uri.to_owned(),
        })?;
    let oauth = token_client(client, &spec.token.url, spec.token.auth)?;
    let mut request = oauth.exchange_code(AuthorizationCode::new(
        exchange.code.expose_secret().to_owned(),
    ));
    if spec.token.redirect_uri == RedirectUri::Always {
        request = request.set_redirect_uri(Cow::Owned(redirect));
    }
    if spec.authorize.pkce.is_used() {
        let verifier = exchange.verifier.expose_secret().to_owned();
        request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
    }
    for (name, value) in &spec.token.params {
        request = request.add_extra_param(name.as_str(), value.fill(&client.vars)?);
    }
    token_request(captured(request.request(&capture))?, &spec.token, client)
}

/// The request that refreshes a grant.
pub fn refresh_request(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<HttpRequest, RequestError> {
    let refresh = tokens.next_refresh().ok_or(RequestError::NoRefreshToken)?;
    let url = spec.refresh.url.as_ref().unwrap_or(&spec.token.url);
    let auth = spec.refresh.auth.unwrap_or(spec.token.auth);
    let oauth = token_client(client, url, auth)?;
    let refresh = RefreshToken::new(refresh.expose_secret().to_owned());
    let mut request = oauth.exchange_refresh_token(&refresh);
    if spec.refresh.send_scope {
        request = request.add_scopes(tokens.scopes.iter().cloned().map(Scope::new));
    }
    for (name, value) in &spec.refresh.params {
        request = request.add_extra_param(name.as_str(), value.fill(&client.vars)?);
    }
    token_request(captured(request.request(&capture))?, &spec.token, client)
}

impl<'a> Client<'a> {
    /// A filled address that is absolute, http(s), and names a host and no user.
    pub(crate) fn url(&self, template: &Template) -> Result<Url, RequestError> {
        fill_url(template, &self.vars)
    }

    /// The secret, which this client must have.
    pub(crate) fn require_secret(&self) -> Result<&'a SecretString, RequestError> {
        self.secret.ok_or(RequestError::NoSecret)
    }
}

/// Fills an address of the catalogue and checks that it is absolute, http(s), and names a host, no user and
/// no fragment.
pub fn fill_url(template: &Template, vars: &Vars<'_>) -> Result<Url, RequestError> {
    let text = template.fill(vars)?;
    let usable = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    match Url::parse(&text) {
        Ok(url) if usable(&url) => Ok(url),
        _ => Err(RequestError::Url { url: text }),
    }
}

type TokenClient =
    BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

fn token_client(
    client: &Client<'_>,
    url: &Template,
    auth: ClientAuth,
) -> Result<TokenClient, RequestError> {
    let url = TokenUrl::from_url(client.url(url)?);
    Ok(oauth_client(client, auth)?.set_token_uri(url))
}

/// A client that proves itself in this way, without any endpoint.
pub(crate) fn oauth_client(
    client: &Client<'_>,
    auth: ClientAuth,
) -> Result<BasicClient, RequestError> {
    let mut oauth = BasicClient::new(ClientId::new(client.vars.client_id.to_owned()))
        .set_auth_type(match auth {
            // The crate form-encodes id and secret first, as RFC 6749 §2.3.1 asks.
            ClientAuth::Basic => AuthType::BasicAuth,
            ClientAuth::Post | ClientAuth::None => AuthType::RequestBody,
        });
    if auth != ClientAuth::None {
        let secret = client.require_secret()?.expose_secret().to_owned();
        oauth = oauth.set_client_secret(ClientSecret::new(secret));
    }
    Ok(oauth)
}

/// A request on its way out of the oauth2 crate.
pub(crate) struct Captured(Box<oauth2::HttpRequest>);

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Captured")
    }
}

impl fmt::Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request was captured")
    }
}

impl std::error::Error for Captured {}

/// In the place of an HTTP client: hands the request back as its error.
pub(crate) fn capture(request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, Captured> {
    Err(Captured(Box::new(request)))
}

pub(crate) fn captured<T, E: oauth2::ErrorResponse + 'static>(
    outcome: Result<T, RequestTokenError<Captured, E>>,
) -> Result<oauth2::HttpRequest, RequestError> {
    match outcome {
        Err(RequestTokenError::Request(Captured(request))) => Ok(*request),
        // The crate calls its client exactly once and looks at nothing else before.
        _ => Err(RequestError::Unsupported("build a token request")),
    }
}

/// The canonical request in the provider's dialect.
pub(crate) fn token_request(
    request: oauth2::HttpRequest,
    token: &Token,
    client: &Client<'_>,
) -> Result<HttpRequest, RequestError> {
    let mut request = request.map(Bytes::from);
    if token.client_id_in_body || token.body == TokenBody::Json {
        let mut pairs: BTreeMap<String, String> = form_urlencoded::parse(request.body())
            .into_owned()
            .collect();
        if token.client_id_in_body {
            pairs.insert("client_id".to_owned(), client.vars.client_id.to_owned());
        }
        *request.body_mut() = match token.body {
            TokenBody::Form => form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&pairs)
                .finish()
                .into(),
            TokenBody::Json => {
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().insert(header::CONTENT_TYPE, json);
                serde_json::json!(pairs).to_string().into()
            }
        };
    }
    insert_headers(request.headers_mut(), &token.headers)?;
    if let Some(auth) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        auth.set_sensitive(true);
    }
    HttpRequest::to_its_host(request)
}

/// Adds the headers of a catalogue entry.
pub(crate) fn insert_headers(
    headers: &mut HeaderMap,
    extra: &BTreeMap<String, String>,
) -> Result<(), ::http::Error> {
    for (name, value) in extra {
        headers.insert(
            HeaderName::try_from(name.as_str())?,
            HeaderValue::try_from(value.as_str())?,
        );
    }
    Ok(())
}

/// The header that carries a token, marked sensitive.
pub(crate) fn with_token(
    place: &TokenHeader,
    token: &SecretString,
) -> Result<(HeaderName, HeaderValue), ::http::Error> {
    let text = format!("{}{}", place.prefix, token.expose_secret());
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok((HeaderName::try_from(place.name.as_str())?, value))
}

impl HttpRequest {
    /// A request that may go to its own host and no other: for addresses of the catalogue.
    pub(crate) fn to_its_host(request: ::http::Request<Bytes>) -> Result<Self, RequestError> {
        let text = request.uri().to_string();
        let url = Url::parse(&text).map_err(|_| RequestError::Url { url: text })?;
        Ok(Self {
            hosts: AllowedHosts::of([&url]),
            request,
        })
    }
}
