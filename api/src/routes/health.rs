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

#[cfg(test)]
mod tests {
    use crate::testing::TestApi;

    #[tokio::test]
    async fn anyone_may_ask() {
        let api = TestApi::new().await;
        let answer = api.anyone().get("/api/v1/health").await;
        insta::assert_snapshot!(answer.shown(), @r#"
        200 OK
        {
          "data": {
            "status": "ok",
            "version": "0.1.0"
          },
          "ok": true
        }
        "#);
        assert_eq!(answer.header("x-ratelimit-limit"), "");
    }
}
