//! `ANY /api/echo/{path}`: shows what arrived, or answers with made-up bytes (`raw=1`), so that a test sees
//! what a proxy changed on the way in both directions.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    counters::Counter,
    limits::{MAX_ECHO_INLINE, MAX_MADE_BODY},
    routes::api::error,
    state::Shared,
};

/// Parameters that shape the answer; all others are only shown.
#[derive(Debug, Deserialize)]
pub(crate) struct EchoQuery {
    /// 1: answer with bytes instead of JSON.
    #[serde(default)]
    raw: u8,
    /// How many: byte i is i modulo 251, so that a lost or doubled part shows.
    #[serde(default)]
    bytes: usize,
    content_type: Option<String>,
    /// The answer's status.
    status: Option<u16>,
    /// The answer's `Location`.
    location: Option<String>,
}

/// What arrived.
#[derive(Debug, Serialize)]
struct Echo {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    /// The first 16 hexadecimal digits of the SHA-256 of the Authorization header.
    authorization_sha256: String,
    body_bytes: usize,
    body_sha256: String,
    /// Left out over 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Handler.
pub(crate) async fn echo(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Query(query): Query<EchoQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !method.is_safe() {
        shared.counters.add(Counter::ApiWrites, 1);
    }
    let answer = match query.raw {
        1 if query.bytes > MAX_MADE_BODY => error(StatusCode::BAD_REQUEST, (), "too_many_bytes"),
        1 => made(&query),
        _ => Json(shown(&method, &uri, &headers, &body)).into_response(),
    };
    shaped(answer, &query)
}

fn shown(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Echo {
    let mut names = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        if name == header::AUTHORIZATION {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        let all = names.entry(name.to_string()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    let authorization = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let mut digest = hex_sha256(authorization.unwrap_or_default());
    digest.truncate(16);
    Echo {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: names,
        authorization_sha256: digest,
        body_bytes: body.len(),
        body_sha256: hex_sha256(body),
        body_base64: (body.len() <= MAX_ECHO_INLINE).then(|| STANDARD.encode(body)),
    }
}

fn made(query: &EchoQuery) -> Response {
    let pattern = (0..=250_u8).cycle().take(query.bytes);
    let kind = query
        .content_type
        .as_deref()
        .unwrap_or("application/octet-stream");
    let body: Vec<u8> = pattern.collect();
    match HeaderValue::from_str(kind) {
        Ok(kind) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Err(_) => error(StatusCode::BAD_REQUEST, (), "invalid_content_type"),
    }
}

/// Gives the answer its status, its `Location`, and a cookie that no proxy should pass on.
fn shaped(mut answer: Response, query: &EchoQuery) -> Response {
    let status = query.status.map(StatusCode::from_u16);
    match status {
        Some(Ok(status)) if status.as_u16() >= 200 => *answer.status_mut() = status,
        Some(_) => return error(StatusCode::BAD_REQUEST, (), "invalid_status"),
        None => {}
    }
    let headers = answer.headers_mut();
    let location = query.location.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(location)) = location {
        headers.insert(header::LOCATION, location);
    }
    let cookie = HeaderValue::from_static("sandbox_echo=1; HttpOnly; SameSite=Strict");
    headers.insert(header::SET_COOKIE, cookie);
    answer
}

fn hex_sha256(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
