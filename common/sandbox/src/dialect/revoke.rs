//! Revocation in a dialect, and how far it reaches.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use latchkey_oauth::{
    OauthSpec,
    spec::{Revoke, RevokeAuth, RevokeBody, RevokeMethod},
};
use serde_json::{Map, Value, json};

use super::{Asked, Dialect, put};
use crate::{
    counters::Counter,
    form::basic,
    state::{Shared, lock},
};

/// Handler.
pub(super) fn revoke(
    shared: &Shared,
    dialect: &Dialect,
    spec: &OauthSpec,
    revoke: &Revoke,
    asked: &Asked,
) -> Response {
    match named(shared, revoke, asked) {
        Ok((token, client)) => {
            let ended =
                lock(&dialect.grants).revoke(&token, client.as_deref(), revoke.blast_radius);
            if !ended {
                return gone(spec, revoke);
            }
            shared.counters.add(Counter::Revocations, 1);
            done(spec, revoke)
        }
        Err((status, text)) => super::refused(status, "invalid_request", text),
    }
}

type Wrong = (StatusCode, &'static str);

/// The token that a revocation names and the client that asks, if it is built as this provider wants it.
fn named(
    shared: &Shared,
    revoke: &Revoke,
    asked: &Asked,
) -> Result<(String, Option<String>), Wrong> {
    let wrong = |text| Err((StatusCode::BAD_REQUEST, text));
    let method = match revoke.method {
        RevokeMethod::Post => Method::POST,
        RevokeMethod::Delete => Method::DELETE,
    };
    if asked.method != method {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "another method"));
    }
    let kind = asked.header("content-type").unwrap_or_default();
    let fields: Map<String, Value> = match (revoke.body, kind) {
        (RevokeBody::None, "") if asked.body.is_empty() => Map::new(),
        (RevokeBody::Form, "application/x-www-form-urlencoded") => {
            let pairs = form_urlencoded::parse(&asked.body).into_owned();
            pairs
                .map(|(name, value)| (name, Value::String(value)))
                .collect()
        }
        (RevokeBody::Json, "application/json") => {
            serde_json::from_slice(&asked.body).map_err(|_| (StatusCode::BAD_REQUEST, "no JSON"))?
        }
        _ => return wrong("the body has not the form it must have"),
    };
    if revoke.params.keys().any(|name| !fields.contains_key(name)) {
        return wrong("a member is missing");
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let carried = carried(revoke, &asked.headers);
    let authorization = asked.headers.get(header::AUTHORIZATION);
    let client = match revoke.auth {
        RevokeAuth::Bearer => {
            let token = carried.ok_or((StatusCode::UNAUTHORIZED, "no token"))?;
            return Ok((token, None));
        }
        RevokeAuth::None if authorization.is_none() && text("client_id").is_none() => None,
        RevokeAuth::Basic => authorization.and_then(basic),
        RevokeAuth::Post if authorization.is_none() => text("client_id").zip(text("client_secret")),
        RevokeAuth::None | RevokeAuth::Post => return wrong("who asks stands in another place"),
    };
    if revoke.auth != RevokeAuth::None {
        let known = client.as_ref().and_then(|(id, secret)| {
            shared
                .clients
                .get(id)
                .filter(|client| client.client_secret == *secret)
        });
        if known.is_none() {
            return Err((StatusCode::UNAUTHORIZED, "unknown client"));
        }
    }
    let token = text(&revoke.param).ok_or((StatusCode::BAD_REQUEST, "no token is named"))?;
    Ok((token, client.map(|(id, _)| id)))
}

fn carried(revoke: &Revoke, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(&revoke.token_header.name)?.to_str().ok()?;
    Some(value.strip_prefix(&revoke.token_header.prefix)?.to_owned())
}

fn status(codes: &[u16]) -> Option<StatusCode> {
    codes
        .first()
        .and_then(|code| StatusCode::from_u16(*code).ok())
}

fn done(spec: &OauthSpec, revoke: &Revoke) -> Response {
    let status = status(&revoke.success_codes).unwrap_or(StatusCode::OK);
    if status == StatusCode::NO_CONTENT {
        return status.into_response();
    }
    let mut body = json!({});
    if let Some(path) = &spec.response.ok_path {
        put(&mut body, path, true.into());
    }
    (status, Json(body)).into_response()
}

/// A token that is not known any more is as good as revoked (RFC 7009 §2.2), unless the provider says so.
fn gone(spec: &OauthSpec, revoke: &Revoke) -> Response {
    match status(&revoke.gone_codes) {
        Some(status) => super::refused(status, "not_found", "no such token"),
        None if revoke.auth == RevokeAuth::Bearer => {
            super::refused(StatusCode::UNAUTHORIZED, "invalid_token", "no such token")
        }
        None => done(spec, revoke),
    }
}
