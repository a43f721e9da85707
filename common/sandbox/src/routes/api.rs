//! The protected API: the gate that every request passes, and `GET /api/me`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    counters::Counter,
    events::{EventKind, Happened},
    faults::{Target, under_faults},
    state::{Shared, lock, pause},
};

/// The user for whom an access token spoke.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Arc<str>);

/// Counts, lets faults strike, checks the token, acts, then waits the set latency.
pub(crate) async fn gate(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut called = Happened {
        detail: format!("{} {}", request.method(), request.uri().path()).into(),
        ..Happened::default()
    };
    let user = caller(&shared, request.headers());
    called.user = user.as_ref().ok().cloned();
    shared.note(EventKind::Api, called);
    shared.counters.add(Counter::ApiCalls, 1);
    let act = async {
        let answer = match user {
            Ok(user) => {
                request.extensions_mut().insert(Caller(user));
                next.run(request).await
            }
            Err(challenge) => {
                shared.counters.add(Counter::Api401, 1);
                refused(challenge)
            }
        };
        pause(shared.settings().api_latency_ms).await;
        answer
    };
    under_faults(&shared, Target::Api, act).await
}

/// The user of the request's access token, or the challenge that answers it (RFC 6750 §3).
fn caller(shared: &Shared, headers: &HeaderMap) -> Result<Arc<str>, &'static str> {
    const INVALID: &str = "Bearer realm=\"sandbox\", error=\"invalid_token\", \
        error_description=\"the access token is unknown, expired or revoked\"";
    if let Some(user) = by_key(headers) {
        return Ok(user);
    }
    let header = headers
        .get(header::AUTHORIZATION)
        .ok_or("Bearer realm=\"sandbox\"")?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| shared.minter.read_access(token.trim()));
    let user = token.and_then(|claims| lock(&shared.grants).user_of(claims, shared.now()));
    user.ok_or(INVALID)
}

/// The user of a key `sandbox-key-<user>`, or of HTTP Basic with the password `sandbox-password`: for
/// connections that hold no OAuth tokens.
fn by_key(headers: &HeaderMap) -> Option<Arc<str>> {
    if let Some(key) = headers.get("x-api-key") {
        let user = key.to_str().ok()?.strip_prefix("sandbox-key-")?;
        return Some(user.into());
    }
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let pair = BASE64_STANDARD.decode(text.strip_prefix("Basic ")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    (password == "sandbox-password").then(|| user.into())
}

fn refused(challenge: &'static str) -> Response {
    let headers = [(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    )];
    error(StatusCode::UNAUTHORIZED, headers, "invalid_token")
}

/// An error of the API as JSON.
pub(crate) fn error(
    status: StatusCode,
    headers: impl axum::response::IntoResponseParts,
    code: &str,
) -> Response {
    (status, headers, Json(json!({ "error": code }))).into_response()
}

/// `GET /api/me`.
pub(crate) async fn me(Extension(Caller(user)): Extension<Caller>) -> Json<Value> {
    let mut letters = user.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let name: String = first.chain(letters).collect();
    let email = if user.contains('@') {
        user.to_string()
    } else {
        format!("{user}@sandbox.example")
    };
    Json(json!({ "sub": &*user, "email": email, "name": name }))
}
