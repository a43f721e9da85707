//! The admin port: metrics, liveness, readiness. The operator's routes are added by whoever serves it.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use latchkey_jobs::{PushError, Urgency};
use serde::Serialize;

use crate::Context;

/// How long readiness waits for the queue: a probe asks every few seconds and gives up on its own soon.
const QUEUE_ANSWERS: Duration = Duration::from_secs(1);

/// `/metrics`, `/livez`, `/readyz`.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(context)
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    for urgency in Urgency::ALL {
        if let Ok(depth) = context.queue.depth(urgency).await {
            let entries = u64::try_from(depth.entries).unwrap_or(u64::MAX);
            context
                .metrics
                .queue(urgency.as_str(), entries, depth.oldest);
        }
    }
    for (provider, count) in context.breakers.not_closed(context.clock.monotonic()) {
        context.metrics.breakers_not_closed(&provider, count);
    }
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        context.metrics.encode(),
    )
}

/// What `/readyz` says.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// Each check by name: `ok`, or what is wrong and what to do.
    checks: [(&'static str, String); 3],
}

/// 200 when this process can take requests, else 503 with the reason.
async fn ready(State(context): State<Context>) -> impl IntoResponse {
    let draining = if context.stopper.is_draining() {
        "stopping"
    } else {
        "ok"
    };
    let store = match context.store.check_writable().await {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let checks = [
        ("process", draining.to_owned()),
        ("store", store),
        ("queue", queue(&context).await),
    ];
    let ready = checks.iter().all(|(_, state)| state == "ok");
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, checks }))
}

/// Whether the queue answers. One that is full does.
async fn queue(context: &Context) -> String {
    let depth = context.queue.depth(Urgency::Interactive);
    match tokio::time::timeout(QUEUE_ANSWERS, depth).await {
        Ok(Ok(_) | Err(PushError::Full { .. })) => "ok".to_owned(),
        Ok(Err(error @ PushError::Unavailable(_))) => error.to_string(),
        Err(_) => "the queue does not answer".to_owned(),
    }
}
