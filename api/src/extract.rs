//! What handlers take out of a request, each refusal in the envelope: [`Body`] (JSON), [`Query`], [`Path`],
//! and [`RequestId`](Id). A refusal names the field where one is wrong.

use std::{borrow::Cow, str::FromStr, time::Duration};

use axum::{
    body::Body as HttpBody,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request},
};
use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use latchkey_domain::RequestId;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::error::{ApiError, Code};

/// How large a body may be, in bytes. Set per group of routes in `router.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit(pub usize);

/// How long a body may take to arrive: 10 MiB on a slow line. Longer ones hold a connection for nothing.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// A JSON body. An empty one is refused; take `Option<Body<T>>` where it may be left out.
#[derive(Debug)]
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        <Self as OptionalFromRequest<S>>::from_request(request, state)
            .await?
            .ok_or_else(|| ApiError::invalid("This request needs a JSON object as its body."))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts, body).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        check_json_type(&parts.headers)?;
        parse_json(&bytes).map(|value| Some(Self(value)))
    }
}

/// Reads the whole body within the route's [`BodyLimit`].
///
/// # Errors
/// 413 beyond the limit, 400 when the client stops sending.
pub(crate) async fn read_body(parts: &Parts, body: HttpBody) -> Result<Bytes, ApiError> {
    read_body_within(BODY_WITHIN, parts, body).await
}

async fn read_body_within(
    within: Duration,
    parts: &Parts,
    body: HttpBody,
) -> Result<Bytes, ApiError> {
    let limit = parts.extensions.get::<BodyLimit>().map_or(0, |l| l.0);
    let too_large = || {
        ApiError::new(
            Code::PayloadTooLarge,
            format!("The body is larger than {limit} bytes."),
        )
    };
    let announced = parts.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(within, Limited::new(body, limit).collect()).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::invalid("The body ended before it was complete.")),
        Err(_) => Err(ApiError::invalid(format!(
            "The body did not arrive within {} seconds.",
            within.as_secs()
        ))),
    }
}

/// Refuses a body that does not say it is JSON.
pub(crate) fn check_json_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(CONTENT_TYPE)
        .map_or("", |v| v.to_str().unwrap_or("?"));
    let essence = given.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.to_ascii_lowercase().ends_with("+json"));
    if is_json {
        return Ok(());
    }
    let shown = if given.is_empty() { "none" } else { given };
    Err(ApiError::field(
        "content-type",
        format!("must be application/json, not {shown}"),
    ))
}

/// Reads JSON, naming the field where something is wrong.
fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        ApiError::invalid(format!(
            "The body is not UTF-8: see byte {}.",
            e.valid_up_to()
        ))
    })?;
    // serde would read an array as the fields of a struct in their order.
    if text.trim_start().starts_with('[') {
        return Err(ApiError::field("body", "must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            wrong_field(&path, &error.to_string())
        } else {
            ApiError::invalid(format!("The body is not valid JSON: {error}."))
        }
    })?;
    json.end()
        .map_err(|error| ApiError::invalid(format!("The body is not valid JSON: {error}.")))?;
    Ok(value)
}

/// The refusal for what serde says about a value at `path`.
fn wrong_field(path: &str, said: &str) -> ApiError {
    // serde_json ends its messages with the position, which helps nobody who builds a body in code.
    let said = said.split(" at line ").next().unwrap_or(said);
    // "unknown field `x`, expected …" and "missing field `x`" name the field themselves.
    let named = said.split('`').nth(1).filter(|_| said.contains(" field `"));
    let parent = if path == "." { "" } else { path };
    let field = match (parent, named) {
        ("", Some(name)) => name.to_owned(),
        ("", None) => return ApiError::field("body", "must be a JSON object"),
        (parent, Some(name)) if parent != name && !parent.ends_with(&format!(".{name}")) => {
            format!("{parent}.{name}")
        }
        (parent, _) => parent.to_owned(),
    };
    ApiError::field(field, said)
}

/// Query parameters. Types refuse unknown ones with `#[serde(deny_unknown_fields)]`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(query)
            .map(Self)
            .map_err(|error| {
                let path = error.path().to_string();
                let said = error.into_inner().to_string();
                // What the standard library says of a number speaks of digits and types.
                let said = match said.as_str() {
                    "invalid digit found in string" | "cannot parse integer from empty string" => {
                        "must be a whole number, 0 or more"
                    }
                    "number too large to fit in target type" => "is too large",
                    other => other,
                };
                wrong_field(&path, said)
            })
    }
}

/// Segments of the path as texts. What they name is looked up by the handler, so that a malformed id is
/// the same 404 as a missing one.
#[derive(Debug)]
pub(crate) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(ApiError::invalid("The path is not UTF-8 once decoded.")),
        }
    }
}

/// Reads an id of a path.
///
/// # Errors
/// The 404 that a missing one gives: a text that is no id names nothing.
pub(crate) fn id<T: FromStr>(text: &str, what: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::not_found(what))
}

/// The id of this request, made by [`crate::layers::frame`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id(pub RequestId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::new(Code::Internal, "This route has no frame.");
        parts.extensions.get::<Self>().copied().ok_or_else(missing)
    }
}

/// For a field where `null` means "clear it" and absence means "leave it": with
/// `#[serde(default, deserialize_with = "nullable")]`.
pub(crate) fn nullable<'de, D, T>(d: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(d).map(Some)
}

/// A secret that may be absent: with `#[serde(default, deserialize_with = "secret")]`.
pub(crate) fn secret<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.map(SecretString::from))
}

/// A boolean of a query in any case, also as `1` and `0`: with `#[serde(default, deserialize_with = "flag")]`.
pub(crate) fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    let text = Cow::<str>::deserialize(d)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(serde::de::Error::custom("must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Sample {
        name: String,
        #[serde(default, deserialize_with = "nullable")]
        nick: Option<Option<String>>,
        #[serde(default)]
        inner: Option<Box<Sample>>,
    }

    fn refuse(body: &[u8]) -> String {
        let error = parse_json::<Sample>(body).unwrap_err();
        match error.details.as_slice() {
            [] => error.message,
            [only] => format!("{} | {}", only.field, only.problem),
            _ => unreachable!("one field at a time"),
        }
    }

    #[test]
    fn the_field_is_named() {
        let refused = [
            &b"{"[..],
            b"{\"name\":\"\xff\"}",
            b"[\"a\", null, null]",
            b"\"a\"",
            b"{}",
            br#"{"name":"a"} x"#,
            br#"{"name":1}"#,
            br#"{"name":"a","nme":"b"}"#,
            br#"{"name":"a","name":"b"}"#,
            br#"{"name":"a","inner":{"name":"b","x":1}}"#,
            br#"{"name":"a","inner":{}}"#,
            br#"{"name":"\ud800"}"#,
        ]
        .map(refuse);
        insta::assert_snapshot!(refused.join("\n"), @r"
        The body is not valid JSON: EOF while parsing an object at line 1 column 1.
        The body is not UTF-8: see byte 9.
        body | must be a JSON object
        body | must be a JSON object
        name | missing field `name`
        The body is not valid JSON: trailing characters at line 1 column 14.
        name | invalid type: integer `1`, expected a string
        nme | unknown field `nme`, expected one of `name`, `nick`, `inner`
        name | duplicate field `name`
        inner.x | unknown field `x`, expected one of `name`, `nick`, `inner`
        inner.name | missing field `name`
        The body is not valid JSON: unexpected end of hex escape at line 1 column 16.
        ");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions.insert(BodyLimit(10));
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let read = read_body_within(Duration::ZERO, &parts, HttpBody::from_stream(never)).await;
        assert!(read.unwrap_err().message.contains("did not arrive"));
        let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
        let read = read_body(&parts, HttpBody::from_stream(cut)).await;
        assert!(read.unwrap_err().message.contains("before it was complete"));
    }

    #[test]
    fn null_is_not_absence() {
        let read = |text: &str| parse_json::<Sample>(text.as_bytes()).unwrap().nick;
        assert_eq!(read(r#"{"name":"a"}"#), None);
        assert_eq!(read(r#"{"name":"a","nick":null}"#), Some(None));
    }
}
