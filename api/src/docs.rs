//! The docs page at `/docs`: it renders `/api/v1/openapi.json` with its own script and style, so it needs no
//! network beyond this server.

use std::sync::Arc;

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderValue, header};

use crate::state::Api;

/// Only our own files and our own document.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/docs` and its two files.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route(
            "/docs",
            get(async || file("text/html; charset=utf-8", include_str!("docs/page.html"))),
        )
        .route(
            "/docs/page.css",
            get(async || file("text/css", include_str!("docs/page.css"))),
        )
        .route(
            "/docs/page.js",
            get(async || file("text/javascript", include_str!("docs/page.js"))),
        )
}

fn file(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(POLICY),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ],
        text,
    )
}

#[cfg(test)]
mod tests {
    use crate::testing::TestApi;

    #[tokio::test]
    async fn the_page_needs_nothing_but_this_server() {
        let api = TestApi::new().await;
        for (path, kind) in [
            ("/docs", "text/html; charset=utf-8"),
            ("/docs/page.css", "text/css"),
            ("/docs/page.js", "text/javascript"),
        ] {
            let answer = api.anyone().get(path).await;
            assert_eq!(answer.header("content-type"), kind);
            assert!(
                answer
                    .header("content-security-policy")
                    .contains("script-src 'self'")
            );
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(!text.contains("://"), "{path} names another server");
            assert!(!text.contains("innerHTML"), "{path} writes markup");
        }
    }
}
