//! `/api/messages`: a paged list, one message, and the one write of the API.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{
    counters::Counter,
    limits::{DEFAULT_PAGE, MAX_MESSAGE, MAX_NAME, MAX_PAGE},
    messages::Wrote,
    routes::api::{Caller, error},
    state::{Shared, lock},
};

/// Parameters of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<u64>,
}

/// `GET /api/messages`.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(user)): Extension<Caller>,
    Query(query): Query<ListQuery>,
) -> Response {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return error(StatusCode::BAD_REQUEST, (), "invalid_limit");
    }
    let (messages, next) = lock(&shared.messages).page(&user, query.cursor, limit);
    Json(json!({ "messages": messages, "next_cursor": next })).into_response()
}

/// `GET /api/messages/{id}`.
pub(crate) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(user)): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let message = id
        .parse()
        .ok()
        .and_then(|id| lock(&shared.messages).get(&user, id));
    match message {
        Some(message) => Json(message).into_response(),
        None => error(StatusCode::NOT_FOUND, (), "not_found"),
    }
}

/// A message to be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    text: String,
}

/// `POST /api/messages`.
pub(crate) async fn write(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(user)): Extension<Caller>,
    headers: HeaderMap,
    Json(NewMessage { text }): Json<NewMessage>,
) -> Response {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok());
    if text.len() > MAX_MESSAGE || key.is_some_and(|key| key.len() > MAX_NAME) {
        return error(StatusCode::PAYLOAD_TOO_LARGE, (), "too_long");
    }
    let wrote = lock(&shared.messages).write(&user, &text, key, shared.now());
    match wrote {
        Wrote::New(message) => {
            shared.counters.add(Counter::ApiWrites, 1);
            (StatusCode::CREATED, Json(message)).into_response()
        }
        Wrote::Again(message) => {
            let replayed = [("idempotency-replayed", "true")];
            (StatusCode::CREATED, replayed, Json(message)).into_response()
        }
        Wrote::OtherText => error(
            StatusCode::UNPROCESSABLE_ENTITY,
            (),
            "idempotency_key_reused",
        ),
    }
}
