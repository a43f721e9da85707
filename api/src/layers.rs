//! What surrounds every route, from the outside in: [`frame`] (request id, span, metrics, panic guard,
//! errors rendered, security headers), [`identify`] (whose key, rate-limit headers), and per group of routes
//! [`require_partner`] or [`require_operator`], the body limit, and idempotency.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use latchkey_domain::{PartnerId, RequestId};
use latchkey_telemetry::{Chain, request_span};
use tracing::Instrument;

use crate::{
    auth::{self, Caller, Scope},
    error::{ApiError, Code},
    extract::Id,
    flowra::Face,
    limits,
    state::Api,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost layer. The request id is always ours: one that a client sends proves nothing.
pub(crate) async fn frame(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::new(api.ctx.now(), &*api.ctx.entropy);
    request.extensions_mut().insert(Id(id));
    let face = Face::of(request.uri(), request.headers());
    let began = api.ctx.clock.monotonic();
    // The pattern, never the path: paths hold ids and, for connect pages, a secret.
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => format!("{} {}", request.method(), path.as_str()),
        None => "unmatched".to_owned(),
    };
    async {
        let mut response = render(guarded(request, next).await, id, face);
        finish_headers(&api, response.headers_mut(), id);
        let took = api.ctx.clock.monotonic().saturating_sub(began);
        let status = response.status().as_u16();
        api.ctx.metrics.http_request(&route, status, took);
        tracing::info!(route, status, took_us = took.as_micros(), "request");
        response
    }
    .instrument(request_span(id))
    .await
}

/// Runs the rest; a panic becomes an error of ours. (The panic hook has logged it.)
pub(crate) async fn guarded(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiError::internal(Panicked).into_response(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked")]
struct Panicked;

/// Renders the error that a response carries, keeping the headers it gathered, and logs what is ours.
fn render(mut response: Response, id: RequestId, face: Face) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let chain = Chain(&error);
    match &error.source {
        Some(_) if error.code == Code::Internal => {
            tracing::error!(error = %chain, "request failed");
        }
        Some(_) => tracing::warn!(error = %chain, "request failed"),
        None => tracing::debug!(error = %chain, "request refused"),
    }
    let mut rendered = error.render(id, face);
    rendered
        .headers_mut()
        .extend(std::mem::take(response.headers_mut()));
    rendered
}

fn finish_headers(api: &Api, headers: &mut HeaderMap, id: RequestId) {
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    let mut default = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    // Answers hold partners' data and once-shown keys (ASVS 14.3.2).
    default(header::CACHE_CONTROL, "no-store");
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::REFERRER_POLICY, "no-referrer");
    // Pages set their own; nothing else of ours is ever to be shown as a page.
    default(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; sandbox",
    );
    if api.ctx.config.is_https() {
        default(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}

/// Finds out whose key was sent, and puts the rate-limit headers on whatever is answered.
pub(crate) async fn identify(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = auth::identify(&api, request.headers()).await;
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    if let Some(partner) = caller.partner() {
        limits::add_headers(&api, partner, &mut response).await;
    }
    response
}

/// Lets partners in good standing pass.
pub(crate) async fn require_partner(
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let partner = match request.extensions().get::<Caller>() {
        Some(caller) => caller.admitted()?.id,
        None => return Err(ApiError::new(Code::Internal, "This route has no caller.")),
    };
    request.extensions_mut().insert(Scope(partner));
    Ok(next.run(request).await)
}

/// Lets the operator pass.
pub(crate) async fn require_operator(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    auth::admit_operator(&api, request.headers())?;
    request.extensions_mut().insert(Scope(PartnerId::OPERATOR));
    Ok(next.run(request).await)
}

/// No such path. It is not repeated: it may hold a connect link's secret, and refusals are logged.
pub(crate) async fn not_found() -> ApiError {
    ApiError::new(
        Code::NotFound,
        "There is nothing at this path. See /docs for what there is.",
    )
}

/// The path, with other methods.
pub(crate) async fn method_not_allowed(method: Method) -> ApiError {
    method_not_allowed_here(&method)
}

/// The refusal of a method that a path does not take.
pub(crate) fn method_not_allowed_here(method: &Method) -> ApiError {
    ApiError::new(
        Code::MethodNotAllowed,
        format!("This path does not take {method}. See /docs for what it takes."),
    )
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware, routing::get};

    use super::*;
    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_request_id_is_always_ours() {
        let api = TestApi::new().await;
        let theirs = "req_00000000000000000000000000000001";
        let client = api.anyone().with("x-request-id", theirs);
        let (a, b) = (
            client.get("/api/v1/health").await,
            client.get("/nowhere").await,
        );
        for id in [a.header("x-request-id"), b.header("x-request-id")] {
            assert!(id.starts_with("req_") && id != theirs, "{id}");
        }
        assert_ne!(a.header("x-request-id"), b.header("x-request-id"));
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_have_the_envelope() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        insta::assert_snapshot!(api.anyone().get("/api/v1/acounts").await.shown(), @r#"
        404 Not Found
        {
          "error": "There is nothing at this path. See /docs for what there is.",
          "error_code": "NOT_FOUND",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        let wrong = acme
            .client
            .put("/api/v1/accounts", serde_json::json!({}))
            .await;
        insta::assert_snapshot!(wrong.shown(), @r#"
        405 Method Not Allowed
        {
          "error": "This path does not take PUT. See /docs for what it takes.",
          "error_code": "METHOD_NOT_ALLOWED",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        assert_eq!(wrong.header("allow"), "POST,GET,HEAD");
        // A valid key has its limits on whatever is answered.
        assert_eq!(wrong.header("x-ratelimit-minute-limit"), "30");
        assert_eq!(
            api.anyone().get("/api/v1/accounts/").await.code(),
            "NOT_FOUND"
        );
    }

    #[tokio::test]
    async fn a_panic_is_our_failure_and_nobody_elses() {
        let api = TestApi::new().await;
        let router = Router::new()
            .route("/panic", get(async || -> &'static str { panic!("canary") }))
            .layer(middleware::from_fn_with_state(Arc::clone(&api.api), frame));
        let answer = api.anyone().at(&router).get("/panic").await;
        insta::assert_snapshot!(answer.shown(), @r#"
        500 Internal Server Error
        {
          "error": "Latchkey failed to do this. Its log has the reason under this request id.",
          "error_code": "INTERNAL",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        assert_eq!(answer.code(), "INTERNAL");
    }

    #[tokio::test]
    async fn answers_are_not_kept_sniffed_or_framed() {
        let api = TestApi::new().await;
        let answer = api.anyone().get("/api/v1/health").await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        // Plain HTTP on loopback promises nothing about HTTPS.
        assert_eq!(answer.header("strict-transport-security"), "");
    }

    #[tokio::test]
    async fn requests_are_counted_by_route() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let id = acme.account("a").await;
        acme.client
            .get(&format!("/api/v1/accounts/{id}"))
            .await
            .data();
        acme.client.get("/nowhere").await;
        let text = api.api.ctx.metrics.encode();
        let counted = |route: &str, status: u16| {
            let labels = format!("{{route=\"{route}\",status=\"{status}\"}} 1");
            assert!(text.contains(&labels), "{labels} is not in {text}");
        };
        counted("GET /api/v1/accounts/{account_id}", 200);
        counted("unmatched", 404);
        assert!(!text.contains(&id));
    }
}
