//! `ANY /{provider}/{path…}`, and `/{service}/{path…}` of a top-level service: a named endpoint of the
//! catalogue, with its own parameters and the provider's JSON in the envelope.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, Uri, header::ALLOW};
use latchkey_domain::RequestId;
use latchkey_jobs::kinds::provider_call::CallRequest;
use latchkey_providers::{BuildError, EndpointMatch, NoMatch};
use serde_json::Value;

use super::{Call, Shape, admit, check_permission, idempotency_key};
use crate::{
    auth::Partner,
    error::{ApiError, Code},
    extract::{Id, check_json_type, read_body},
    reach::{Reached, named_account},
    reply::{Envelope, Result},
    state::Api,
};

/// Call a named endpoint
///
/// What there is depends on the provider. Also as `/api/v1/{provider}/{service}/{path}`, and for well-known
/// services as `/api/v1/{service}/{path}`. With `Prefer: respond-async` the answer is 202 and a job.
#[utoipa::path(method(get, post, put, patch, delete), path = "/api/v1/{provider}/{path}", tag = "calls",
    params(("provider" = String, Path, description = "A provider, or a well-known service", example = "google"),
        ("path" = String, Path, description = "The endpoint's path, slashes and all",
            example = "gmail/messages"),
        ("X-Account-Id" = Option<String>, Header,
            description = "The account's `external_id`; `project_default_user` if left out"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`")),
    responses((status = 200, body = Envelope<Value>, description = "The provider's JSON as `data`")))]
pub(crate) async fn call_named(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let found = match find(&api, &parts.method, &parts.uri) {
        Ok(found) => found,
        Err(NoMatch::Method { allowed }) => return Ok(not_allowed(&parts.method, &allowed)),
        Err(no_match) => return Err(nothing(&parts.uri, &no_match)),
    };
    let body = read_body(&parts, body).await?;
    if !body.is_empty() {
        check_json_type(&parts.headers)?;
    }
    let account = named_account(&parts.headers)?;
    let reached = admit(&api, &partner, account, &found.provider.slug).await?;
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let query: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
    let asked = (&query[..], &body[..]);
    make(&api, partner, id, &parts.headers, &found, reached, asked).await
}

/// Makes the call of a named endpoint with this query and body: checked, metered and answered like any other.
pub(crate) async fn make(
    api: &Api,
    partner: Partner,
    request_id: RequestId,
    headers: &HeaderMap,
    found: &EndpointMatch<'_>,
    reached: Arc<Reached>,
    (query, body): (&[(String, String)], &[u8]),
) -> Result<Response> {
    check_permission(&reached.connection.row, &found.endpoint.permission)?;
    let planned = found.build(query, body).map_err(does_not_fit)?;
    let content_type = planned
        .content_type
        .map(|value| ("content-type".to_owned(), value));
    let accept = (
        "accept".to_owned(),
        "application/json, */*;q=0.5".to_owned(),
    );
    let key = idempotency_key(found.service, headers);
    let call = Call {
        partner,
        request_id,
        reached,
        provider: found.provider.slug.clone(),
        service: found.service.slug.clone(),
        endpoint: found.endpoint.name.clone(),
        request: CallRequest {
            method: planned.method.to_string(),
            target: planned.target.as_str().to_owned(),
            headers: [accept]
                .into_iter()
                .chain(planned.headers)
                .chain(content_type)
                .chain(key)
                .collect(),
            raw: false,
        },
        body: planned.body,
        shape: Shape::Named,
        callback_url: None,
    };
    call.make(api, headers).await
}

/// The endpoint that a request names. The path is taken as it stood in the request: decoding is the
/// catalogue's.
fn find<'a>(
    api: &'a Api,
    method: &Method,
    uri: &Uri,
) -> std::result::Result<EndpointMatch<'a>, NoMatch> {
    let path = uri.path().strip_prefix("/api/v1/").unwrap_or_default();
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    api.ctx.catalog.find_endpoint(first, rest, method)
}

fn nothing(uri: &Uri, why: &NoMatch) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let hint = match why {
        NoMatch::NoProvider => "See /docs for what there is",
        NoMatch::NoEndpoint | NoMatch::Method { .. } => {
            "/api/v1/proxy/{provider}/{service}/… reaches everything else that the provider offers"
        }
    };
    ApiError::new(
        Code::NotFound,
        format!("There is no '{path}' here: {why}. {hint}."),
    )
}

fn not_allowed(method: &Method, allowed: &[Method]) -> Response {
    use axum::response::IntoResponse;
    let allowed = allowed
        .iter()
        .map(Method::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let text = format!("This endpoint does not take {method}; it takes {allowed}.");
    let mut response = ApiError::new(Code::MethodNotAllowed, text).into_response();
    if let Ok(allowed) = allowed.try_into() {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// The request does not fit the endpoint: the field is named.
fn does_not_fit(error: BuildError) -> ApiError {
    match error {
        BuildError::Missing(name) => ApiError::field(name, "is required"),
        BuildError::Unknown(name) => ApiError::field(name, "is not a parameter of this endpoint"),
        BuildError::Invalid { name, problem } => ApiError::field(name, problem),
        BuildError::NotAnObject => ApiError::field("body", "must be a JSON object"),
        BuildError::UnexpectedBody => ApiError::field("body", "is not taken by this endpoint"),
        BuildError::Target(error) => {
            ApiError::invalid(format!("The parameters do not fit: {error}."))
        }
    }
}
