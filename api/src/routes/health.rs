//! `GET /health`: whether this server answers. What it needs to work is `/readyz` on the admin listener.

use serde::Serialize;
use utoipa::ToSchema;

use crate::reply::{Envelope, Reply};

/// It answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Which Latchkey.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// Whether this server answers
#[utoipa::path(get, path = "/api/v1/health", tag = crate::openapi::PUBLIC,
    responses((status = 200, body = Envelope<Health>)))]
pub(crate) async fn health() -> Reply<Health> {
    Reply(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}
