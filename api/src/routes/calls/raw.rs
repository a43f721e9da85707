//! `ANY /proxy/{provider}/{service}/{path…}`: everything a provider offers, untouched in both directions but
//! for the headers that are one side's own.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, Uri};
use latchkey_jobs::kinds::provider_call::CallRequest;
use latchkey_providers::{Provider, Service, Target, forward_headers};

use super::{Call, Shape, admit, check_service, idempotency_key};
use crate::{
    auth::Partner,
    error::ApiError,
    extract::{Id, read_body},
    layers,
    reach::named_account,
    reply::Result,
    state::Api,
};

/// The endpoint's name in jobs and receipts.
pub(super) const NAME: &str = "proxy";

/// Headers by which some servers take a request for another than its method and path say: permissions are
/// checked, and calls repeated, by what these say.
const DISGUISES: [&str; 5] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Call a provider raw
///
/// Path, query, body and most headers go to the service as they are, with the account's token; status, headers
/// and body of the answer come back as they are (its own rate limits as `X-Provider-RateLimit-…`, and nothing
/// that lets it be cached). `X-Call-Id` on an answer says that it is the provider's.
#[utoipa::path(method(get, post, put, patch, delete), path = "/api/v1/proxy/{provider}/{service}/{path}",
    tag = "calls",
    params(("provider" = String, Path, description = "The provider", example = "github"),
        ("service" = String, Path, description = "One of its services", example = "api"),
        ("path" = String, Path, description = "The provider's path below that service's base address"),
        ("X-Account-Id" = Option<String>, Header,
            description = "The account's `external_id`; `project_default_user` if left out"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`")),
    responses((status = 200, description = "Whatever the provider answers")))]
pub(crate) async fn call_raw(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    check_undisguised(&parts.method, &parts.headers)?;
    let (provider, service, path) = find(&api, &parts.uri)?;
    // With its slash, so that a doubled one is seen and not repaired.
    let target = Target::raw(&format!("/{path}"), parts.uri.query())
        .map_err(|error| ApiError::invalid(format!("The path is not taken: {error}.")))?;
    let body = read_body(&parts, body).await?;
    let account = named_account(&parts.headers)?;
    let reached = admit(&api, &partner, account, &provider.slug).await?;
    check_service(&reached.connection.row, service, &parts.method)?;
    let kept = forward_headers(&parts.headers);
    let kept = kept
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    let key = idempotency_key(service, &parts.headers);
    let call = Call {
        partner,
        request_id: id,
        reached,
        provider: provider.slug.clone(),
        service: service.slug.clone(),
        endpoint: NAME.to_owned(),
        request: CallRequest {
            method: parts.method.to_string(),
            target: target.as_str().to_owned(),
            headers: kept.chain(key).collect(),
            raw: true,
        },
        body,
        shape: Shape::Raw,
        callback_url: None,
    };
    call.make(&api, &parts.headers).await
}

/// Refuses what would not be at the provider what it is here. A server that takes TRACE answers with the
/// request that it got, access token and all.
pub(super) fn check_undisguised(method: &Method, headers: &HeaderMap) -> Result<()> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(layers::method_not_allowed_here(method));
    }
    match DISGUISES.iter().find(|name| headers.contains_key(**name)) {
        None => Ok(()),
        Some(name) => Err(ApiError::field(
            *name,
            "is not passed on: send the method and path that are meant",
        )),
    }
}

/// The service that a path names, and what follows it, as it stood in the request.
fn find<'a, 'u>(api: &'a Api, uri: &'u Uri) -> Result<(&'a Provider, &'a Service, &'u str)> {
    let path = uri
        .path()
        .strip_prefix("/api/v1/proxy/")
        .unwrap_or_default();
    let mut segments = path.splitn(3, '/');
    let mut next = || segments.next().unwrap_or_default();
    let (provider, service, rest) = (next(), next(), next());
    let found = api.ctx.catalog.get(provider);
    found
        .and_then(|provider| Some((provider, provider.service(service)?, rest)))
        .ok_or_else(|| ApiError::not_found("provider or service"))
}
