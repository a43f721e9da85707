//! `/sandbox/*`: the side of tests, demos and benches. No authentication: it guards nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    clients::Client,
    counters::Counter,
    events::EventPage,
    faults::Fault,
    limits::MAX_WAIT,
    settings::Settings,
    state::{Shared, lock},
};

/// 400 with what is wrong, causes included.
pub(crate) fn wrong(error: &dyn std::error::Error) -> Response {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    (StatusCode::BAD_REQUEST, Json(json!({ "error": text }))).into_response()
}

/// `GET /sandbox/counters`.
pub(crate) async fn counters(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let mut all = json!(shared.counters.snapshot());
    let grants = lock(&shared.grants);
    all["grants_made"] = json!(grants.made());
    all["grants_alive"] = json!(grants.alive());
    Json(all)
}

/// `POST /sandbox/counters/reset`.
pub(crate) async fn reset_counters(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.counters.reset();
    Json(json!({ "reset": true }))
}

/// What to wait for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    counter: Counter,
    at_least: u64,
    timeout_ms: Option<u64>,
}

/// `GET /sandbox/wait`: answers when the counter shows enough, or when the time is over.
pub(crate) async fn wait(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<WaitQuery>,
) -> Json<Value> {
    let timeout = query.timeout_ms.map_or(MAX_WAIT, Duration::from_millis);
    let timeout = timeout.min(MAX_WAIT);
    let value = shared
        .counters
        .wait(query.counter, query.at_least, timeout)
        .await;
    let reached = value >= query.at_least;
    Json(json!({ "counter": query.counter, "value": value, "reached": reached }))
}

/// From where to read events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    #[serde(default)]
    since: u64,
}

/// `GET /sandbox/events`.
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<EventsQuery>,
) -> Json<EventPage> {
    Json(shared.events.since(query.since))
}

/// `GET /sandbox/settings`.
pub(crate) async fn settings(State(shared): State<Arc<Shared>>) -> Json<Settings> {
    Json(shared.settings())
}

/// `PUT /sandbox/settings`: changes the fields given, leaves the others.
pub(crate) async fn change_settings(
    State(shared): State<Arc<Shared>>,
    Json(changes): Json<Map<String, Value>>,
) -> Response {
    match shared.change_settings(|settings| settings.with(&changes)) {
        Ok(settings) => Json(settings).into_response(),
        Err(error) => wrong(&error),
    }
}

/// `GET /sandbox/faults`: those that wait, with the counts that are left.
pub(crate) async fn faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "faults": shared.faults.list() }))
}

/// `POST /sandbox/faults`.
pub(crate) async fn add_fault(
    State(shared): State<Arc<Shared>>,
    Json(fault): Json<Fault>,
) -> Response {
    match shared.faults.add(fault.clone()) {
        Ok(()) => (StatusCode::CREATED, Json(fault)).into_response(),
        Err(error) => wrong(&error),
    }
}

/// `DELETE /sandbox/faults`: forgets them and lets hanging requests go on.
pub(crate) async fn clear_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.faults.clear();
    Json(json!({ "cleared": true }))
}

/// `GET /sandbox/clients`.
pub(crate) async fn clients(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let clients: Vec<_> = shared.clients.list();
    let shown: Vec<&Client> = clients.iter().map(|client| &**client).collect();
    Json(json!({ "clients": shown }))
}

/// `POST /sandbox/clients`: adds a client or replaces the one of that id.
pub(crate) async fn register_client(
    State(shared): State<Arc<Shared>>,
    Json(client): Json<Client>,
) -> Response {
    match shared.clients.register(client.clone()) {
        Ok(()) => (StatusCode::CREATED, Json(client)).into_response(),
        Err(error) => wrong(&error),
    }
}
