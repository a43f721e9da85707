//! `POST /calls`: any request to a provider, described in JSON, made without anyone waiting for it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use latchkey_jobs::kinds::provider_call::CallRequest;
use latchkey_providers::{Provider, Service, Target, forward_headers};
use latchkey_vault::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use utoipa::ToSchema;

use super::{
    Call, Shape, admit, check_service, idempotency_key, later, preference::Preference, raw,
};
use crate::{
    auth::Partner,
    error::ApiError,
    extract::{Body, Id, secret},
    reach::DEFAULT_ACCOUNT,
    reply::{Envelope, Result},
    routes::{accounts, jobs::Accepted, webhook_secret},
    state::Api,
};

/// Characters of a callback's address.
const MAX_URL: usize = 2048;

/// A request to a provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCall {
    /// For this account: our id, or `ext:` and your `external_id`. The account `project_default_user` if left
    /// out.
    account_id: Option<String>,
    /// The provider.
    #[schema(example = "github")]
    provider: String,
    /// One of its services; may be left out where it has only one.
    #[schema(example = "api")]
    service: Option<String>,
    /// The HTTP method.
    #[schema(example = "GET")]
    method: String,
    /// The provider's path below the service's base address, encoded; it may hold a query.
    #[schema(example = "/user/repos")]
    path: String,
    /// The query: texts, numbers, booleans, or lists of them.
    #[serde(default)]
    #[schema(value_type = Object)]
    query: Map<String, Value>,
    /// Headers to send on. Those that are one side's own are left out.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body: by default any JSON.
    #[schema(value_type = Value)]
    body: Option<Value>,
    /// What `body` is: `json` (the default), `text`, or `base64` of any bytes.
    #[serde(default)]
    body_encoding: BodyEncoding,
    /// Where the outcome is posted as a Standard Webhook, signed with the secret of
    /// `/partner/webhook_secret`.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, example = "https://app.example.com/hooks/latchkey")]
    callback_url: Option<SecretString>,
}

/// How a body stands in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BodyEncoding {
    #[default]
    Json,
    Text,
    Base64,
}

/// Make a call later
///
/// Answers 202 once the call is written down; `GET /jobs/{job_id}` tells how it goes, and `callback_url` is told
/// when it has ended. With `Prefer: wait=N` (at most 60 seconds) the answer is the finished job, 200, if it ends
/// within that time.
#[utoipa::path(post, path = "/api/v1/calls", tag = "calls", request_body = NewCall,
    params(("Prefer" = Option<String>, Header, description = "`wait=N`, in seconds")),
    responses((status = 202, body = Envelope<Accepted>)))]
pub(crate) async fn create_call(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    headers: HeaderMap,
    Body(new): Body<NewCall>,
) -> Result<Response> {
    let (provider, service) = find(&api, &new)?;
    let method = Method::try_from(new.method.to_ascii_uppercase().as_str())
        .ok()
        .filter(|method| !matches!(*method, Method::TRACE | Method::CONNECT))
        .ok_or_else(|| ApiError::field("method", "must be an HTTP method that is passed on"))?;
    let outgoing = read_headers(&new.headers)?;
    raw::check_undisguised(&method, &outgoing)?;
    let target = target(&new)?;
    if let Some(url) = &new.callback_url {
        check_callback(&api, &partner, url).await?;
        webhook_secret::ensure(&api, &partner).await?;
    }
    let account = match &new.account_id {
        Some(named) => accounts::find(&api, &partner, named).await?.external_id,
        None => DEFAULT_ACCOUNT.to_owned(),
    };
    let reached = admit(&api, &partner, &account, &provider.slug).await?;
    check_service(&reached.connection.row, service, &method)?;
    let (body, content_type) = body(new.body, new.body_encoding)?;
    let mut kept = forward_headers(&outgoing);
    if let Some(value) = content_type
        && !kept.contains_key(CONTENT_TYPE)
    {
        kept.insert(CONTENT_TYPE, HeaderValue::from_static(value));
    }
    let kept = kept
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    let key = idempotency_key(service, &headers);
    let call = Call {
        partner,
        request_id: id,
        reached,
        provider: provider.slug.clone(),
        service: service.slug.clone(),
        endpoint: raw::NAME.to_owned(),
        request: CallRequest {
            method: method.to_string(),
            target: target.as_str().to_owned(),
            headers: kept.chain(key).collect(),
            raw: true,
        },
        body,
        shape: Shape::Job,
        callback_url: new.callback_url,
    };
    later::accept(&api, &call, Preference::read(&headers).wait()).await
}

fn find<'a>(api: &'a Api, new: &NewCall) -> Result<(&'a Provider, &'a Service)> {
    let provider = api.ctx.catalog.get(&new.provider);
    let provider = provider.ok_or_else(|| ApiError::not_found("provider or service"))?;
    let service = match (&new.service, provider.services.as_slice()) {
        (Some(slug), _) => provider.service(slug),
        (None, [only]) => Some(only),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|s| s.slug.as_str()).collect();
            let said = format!("must be one of {}", names.join(", "));
            return Err(ApiError::field("service", said));
        }
    };
    service
        .map(|service| (provider, service))
        .ok_or_else(|| ApiError::not_found("provider or service"))
}

fn read_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = || ApiError::field(format!("headers.{name}"), "is not an HTTP header");
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        // Visible text alone: a worker passes on no other.
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.to_str().map_err(|_| wrong())?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

fn target(new: &NewCall) -> Result<Target> {
    let (path, mut query) = match new.path.split_once('?') {
        Some((path, query)) => (path, query.to_owned()),
        None => (new.path.as_str(), String::new()),
    };
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &new.query {
        let several = match value {
            Value::Array(several) => several.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in several {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    let said = "must be a text, a number, a boolean, or a list of them";
                    return Err(ApiError::field(format!("query.{name}"), said));
                }
            };
            pairs.append_pair(name, &text);
        }
    }
    let more = pairs.finish();
    if !query.is_empty() && !more.is_empty() {
        query.push('&');
    }
    query.push_str(&more);
    Target::raw(path, Some(&query))
        .map_err(|error| ApiError::invalid(format!("The path is not taken: {error}.")))
}

/// The bytes to send, and the content type that goes with them unless another is given.
fn body(given: Option<Value>, encoding: BodyEncoding) -> Result<(Bytes, Option<&'static str>)> {
    match (given, encoding) {
        (None | Some(Value::Null), _) => Ok((Bytes::new(), None)),
        (Some(json), BodyEncoding::Json) => {
            let bytes = serde_json::to_vec(&json).map_err(ApiError::internal)?;
            Ok((bytes.into(), Some("application/json")))
        }
        (Some(Value::String(text)), BodyEncoding::Text) => {
            Ok((text.into(), Some("text/plain; charset=utf-8")))
        }
        (Some(Value::String(text)), BodyEncoding::Base64) => {
            let bytes = BASE64_STANDARD.decode(text);
            let bytes = bytes.map_err(|_| ApiError::field("body", "is not base64"))?;
            Ok((bytes.into(), Some("application/octet-stream")))
        }
        (Some(_), BodyEncoding::Text | BodyEncoding::Base64) => {
            let said = "must be a text, as body_encoding says";
            Err(ApiError::field("body", said))
        }
    }
}

/// Refuses an address that nothing would be posted to. Whether it is a public one is seen when it is
/// resolved, each time.
async fn check_callback(api: &Api, partner: &Partner, address: &SecretString) -> Result<()> {
    const FIELD: &str = "callback_url";
    let text = address.expose_secret();
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL);
    // Plain http goes to the addresses of the operator's own list alone.
    let may_be_plain = !api.ctx.config.callbacks.egress_allow.is_empty();
    let fits = |url: &Url| {
        let scheme = url.scheme() == "https" || (may_be_plain && url.scheme() == "http");
        scheme && url.has_host() && url.username().is_empty() && url.password().is_none()
    };
    if !url.as_ref().is_some_and(fits) {
        let said = format!("must be an https address of up to {MAX_URL} characters");
        return Err(ApiError::field(FIELD, said));
    }
    let (store, now) = (&api.ctx.store, api.ctx.now());
    let gone = store.callback_gone_until(partner.id, digest(text), now);
    match gone.await? {
        None => Ok(()),
        Some(until) => Err(ApiError::field(
            FIELD,
            format!("answered 410 Gone; nothing is posted there until {until}"),
        )),
    }
}
