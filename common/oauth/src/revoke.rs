//! Revoking tokens at the provider, as the entry says, and reading whether it worked.

use std::borrow::Cow;

use ::http::{HeaderValue, Method, Request, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use latchkey_domain::{Timestamp, refresh::Class};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    answer::members,
    classify::{classify, error_code},
    message::{HttpAnswer, HttpRequest},
    request::{Client, RequestError, with_token},
    spec::{OauthSpec, Revoke, RevokeAuth, RevokeBody, RevokeMethod, RevokeWhich},
    tokens::TokenSet,
};

/// Which token a revocation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The refresh token.
    Refresh,
    /// The access token.
    Access,
}

impl TokenKind {
    /// The word of RFC 7009 §2.1.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Refresh => "refresh_token",
            Self::Access => "access_token",
        }
    }
}

/// One revocation to send.
#[derive(Debug)]
pub struct RevokeRequest {
    /// The token it names.
    pub kind: TokenKind,
    /// The request.
    pub request: HttpRequest,
}

/// The revocations of a grant, in the order to send them. [`RequestError::Unsupported`] where the entry
/// knows no way.
pub fn revoke_requests(
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &TokenSet,
) -> Result<Vec<RevokeRequest>, RequestError> {
    let Some(revoke) = &spec.revoke else {
        return Err(RequestError::Unsupported("revoke tokens"));
    };
    let refresh = tokens
        .refresh
        .as_ref()
        .map(|token| (TokenKind::Refresh, token));
    let access = Some((TokenKind::Access, &tokens.access));
    let named = match revoke.which {
        // A request without a body names the token that it is sent with.
        _ if revoke.body == RevokeBody::None => [access, None],
        RevokeWhich::RefreshFirst => [refresh.or(access), None],
        RevokeWhich::Access => [access, None],
        RevokeWhich::Both => [refresh, access],
    };
    named
        .into_iter()
        .flatten()
        .map(|(kind, token)| {
            let request = revoke_request(revoke, client, kind, token, &tokens.access)?;
            Ok(RevokeRequest { kind, request })
        })
        .collect()
}

fn revoke_request(
    revoke: &Revoke,
    client: &Client<'_>,
    kind: TokenKind,
    token: &SecretString,
    access: &SecretString,
) -> Result<HttpRequest, RequestError> {
    let method = match revoke.method {
        RevokeMethod::Post => Method::POST,
        RevokeMethod::Delete => Method::DELETE,
    };
    let mut fields: Vec<(&str, Cow<'_, str>)> = vec![(&revoke.param, token.expose_secret().into())];
    if revoke.body == RevokeBody::Form {
        fields.push(("token_type_hint", kind.hint().into()));
    }
    let mut filled = Vec::new();
    for (name, value) in &revoke.params {
        filled.push((name.as_str(), value.fill(&client.vars)?));
    }
    fields.extend(filled.iter().map(|(name, value)| (*name, value.into())));
    let authorization = match revoke.auth {
        RevokeAuth::Post => {
            fields.push(("client_id", client.vars.client_id.into()));
            if let Some(secret) = client.secret {
                fields.push(("client_secret", secret.expose_secret().into()));
            }
            None
        }
        RevokeAuth::Basic => {
            let value = basic(client.vars.client_id, client.require_secret()?)?;
            Some((header::AUTHORIZATION, value))
        }
        RevokeAuth::None => None,
        RevokeAuth::Bearer => Some(with_token(&revoke.token_header, access)?),
    };
    let (content_type, body) = match revoke.body {
        RevokeBody::Form => (
            Some("application/x-www-form-urlencoded"),
            form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&fields)
                .finish(),
        ),
        RevokeBody::Json => {
            let object = fields.into_iter().map(|(name, value)| (name, value.into()));
            let object: serde_json::Map<_, _> = object
                .map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value))
                .collect();
            (
                Some("application/json"),
                serde_json::Value::Object(object).to_string(),
            )
        }
        RevokeBody::None => (None, String::new()),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(client.url(&revoke.url)?.as_str())
        .header(header::ACCEPT, "application/json");
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    if let Some((name, value)) = authorization {
        request = request.header(name, value);
    }
    HttpRequest::to_its_host(request.body(Bytes::from(body))?)
}

/// HTTP Basic with id and secret form-encoded first (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &SecretString) -> Result<HeaderValue, ::http::Error> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(id), encode(secret.expose_secret()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What became of one revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// The provider confirmed.
    Confirmed,
    /// The token was already gone.
    AlreadyGone,
    /// Not done; the class says whether and when to try again.
    Failed {
        /// The status.
        status: u16,
        /// The provider's error code, cleaned.
        code: String,
        /// Permanent: never. Operator: when the auth config works again. Else later.
        class: Class,
    },
}

/// Reads the answer to a revocation.
pub fn read_revocation(spec: &OauthSpec, answer: &HttpAnswer, now: Timestamp) -> RevokeOutcome {
    let status = answer.status.as_u16();
    let members = members(&answer.body);
    let code = members
        .as_ref()
        .and_then(|members| error_code(spec, members));
    let listed = |codes: &[u16]| codes.contains(&status);
    let (success, gone) = spec.revoke.as_ref().map_or((false, false), |revoke| {
        (listed(&revoke.success_codes), listed(&revoke.gone_codes))
    });
    // Tokens that are unknown, expired or already revoked are what a revocation wants.
    let unknown_token = answer.status.is_client_error()
        && matches!(code.as_deref(), Some("invalid_token" | "invalid_grant"));
    if success && code.is_none() {
        return RevokeOutcome::Confirmed;
    }
    if gone || unknown_token {
        return RevokeOutcome::AlreadyGone;
    }
    let error = classify(spec, answer, members.as_ref(), now);
    let refused = answer.status.is_client_error() && code.is_some();
    RevokeOutcome::Failed {
        status,
        code: error.code,
        // What the server names and no rule knows will not change by asking again.
        class: if refused && error.class == Class::Transient {
            Class::Permanent
        } else {
            error.class
        },
    }
}
