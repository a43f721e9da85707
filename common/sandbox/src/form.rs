//! Reading what OAuth clients send: parameters of forms and queries, and client authentication (RFC 6749
//! §2.3.1, §3.1, §3.2), as strictly as a good provider does.

use std::{borrow::Cow, sync::Arc};

use axum::response::{IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{clients::Client, state::Shared};

/// Parameters that one request may have. OAuth needs eight.
const MAX_FIELDS: usize = 64;

/// The error answer of RFC 6749 §5.2.
#[derive(Debug, Serialize)]
pub(crate) struct OAuthError {
    #[serde(rename = "error")]
    pub(crate) code: &'static str,
    #[serde(rename = "error_description")]
    pub(crate) description: Cow<'static, str>,
}

impl OAuthError {
    pub(crate) fn new(code: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            description: description.into(),
        }
    }

    pub(crate) fn request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) fn grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let status = match self.code {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut answer = (status, no_store(), axum::Json(&self)).into_response();
        if self.code == "invalid_client" {
            let scheme = HeaderValue::from_static("Basic realm=\"sandbox\"");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

/// The headers of every answer that concerns tokens (RFC 6749 §5.1).
pub(crate) fn no_store() -> [(http::HeaderName, &'static str); 2] {
    [
        (header::CACHE_CONTROL, "no-store"),
        (header::PRAGMA, "no-cache"),
    ]
}

/// The parameters of a form or query, each at most once.
#[derive(Debug)]
pub(crate) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Reads a form body.
    pub(crate) fn of_body(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, OAuthError> {
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let essence = kind.and_then(|kind| kind.split(|b| *b == b';').next());
        let is_form = essence.is_some_and(|essence| {
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        });
        if !is_form {
            let wanted = "the content type must be application/x-www-form-urlencoded";
            return Err(OAuthError::request(wanted));
        }
        Self::of_pairs(body)
    }

    /// Reads pairs as they stand in a form body or a query.
    pub(crate) fn of_pairs(pairs: &'a [u8]) -> Result<Self, OAuthError> {
        let mut fields: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(8);
        for (name, value) in form_urlencoded::parse(pairs) {
            if fields.iter().any(|(known, _)| *known == name) {
                let text = format!("parameter '{name}' is there twice");
                return Err(OAuthError::request(text));
            }
            if fields.len() == MAX_FIELDS {
                return Err(OAuthError::request("too many parameters"));
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    /// The same, free of the bytes it was read from.
    pub(crate) fn into_owned(self) -> Form<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let fields = self.0.into_iter();
        Form(
            fields
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
        )
    }

    /// A parameter; an empty one counts as left out (RFC 6749 §3.1).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| &**value).filter(|v| !v.is_empty())
    }

    /// A parameter that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, OAuthError> {
        let missing = || OAuthError::request(format!("parameter '{name}' is missing"));
        self.get(name).ok_or_else(missing)
    }
}

/// The client that a request authenticates, by Basic or in the body.
pub(crate) fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    form: &Form<'_>,
) -> Result<Arc<Client>, OAuthError> {
    let wrong = || OAuthError::new("invalid_client", "unknown client or wrong secret");
    let found = |id: &str, secret: &str| {
        // An ordinary comparison: these secrets are made up and guard nothing.
        let client = shared.clients.get(id).filter(|c| c.client_secret == secret);
        client.ok_or_else(wrong)
    };
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        let id = form.get("client_id").ok_or_else(wrong)?;
        return found(id, form.get("client_secret").ok_or_else(wrong)?);
    };
    if form.get("client_secret").is_some() {
        let text = "the client authenticates twice: by Basic and in the body";
        return Err(OAuthError::request(text));
    }
    let (id, secret) = basic(header).ok_or_else(wrong)?;
    if form.get("client_id").is_some_and(|other| other != id) {
        return Err(OAuthError::request("two different client ids"));
    }
    found(&id, &secret)
}

/// Id and secret of a Basic header, both form-decoded as RFC 6749 §2.3.1 asks.
pub(crate) fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = STANDARD.decode(credentials.trim()).ok()?;
    let (id, secret) = std::str::from_utf8(&plain).ok()?.split_once(':')?;
    Some((decoded(id)?, decoded(secret)?))
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let bytes = percent_encoding::percent_decode_str(&spaced);
    Some(bytes.decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_once_and_empty_ones_not_at_all() {
        let form = Form::of_pairs(b"a=1&b=&c=x%20y+z").unwrap();
        assert_eq!((form.get("a"), form.get("b")), (Some("1"), None));
        assert_eq!(form.get("c"), Some("x y z"));
        assert_eq!(
            form.need("b").unwrap_err().description,
            "parameter 'b' is missing"
        );
        assert!(Form::of_pairs(b"a=1&a=1").is_err());
        let many: Vec<_> = (0..=MAX_FIELDS).map(|n| format!("f{n}=1")).collect();
        assert!(Form::of_pairs(many.join("&").as_bytes()).is_err());
    }

    #[test]
    fn only_forms_are_forms() {
        let of = |kind: &str| {
            let kind = HeaderValue::from_str(kind).unwrap();
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
            Form::of_body(&headers, b"a=1").is_ok()
        };
        assert!(of("application/x-www-form-urlencoded"));
        assert!(of("Application/X-WWW-Form-URLencoded; charset=utf-8"));
        assert!(!of("application/json"));
        assert!(Form::of_body(&HeaderMap::new(), b"a=1").is_err());
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        let header = |plain: &str| {
            let text = format!("bAsIc {}", STANDARD.encode(plain));
            HeaderValue::from_str(&text).unwrap()
        };
        let read = basic(&header("my%3Aid:a%2Bb%25+c")).unwrap();
        assert_eq!(read, ("my:id".to_owned(), "a+b% c".to_owned()));
        assert!(basic(&header("no colon")).is_none());
        assert!(basic(&HeaderValue::from_static("Bearer x")).is_none());
        assert!(basic(&HeaderValue::from_static("Basic ???")).is_none());
    }
}
