//! Calls to providers on behalf of accounts: named endpoints ([`named`]), everything else raw ([`raw`]),
//! and their receipts ([`list`]).
//!
//! ```text
//! key ─▶ endpoint ─▶ account and connection (cached) ─▶ permission ─▶ month's quota ─▶ seal ─▶ queue
//!                                       waiting.rs: the worker's reply ◀─┘  └─▶ later.rs: a row, and 202
//! ```
//!
//! The minute limit is not looked at here: the worker's gate takes the permit right before the request.

mod answer;
pub(crate) mod create;
mod later;
pub(crate) mod list;
mod named;
mod preference;
mod raw;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use axum::{
    response::Response,
    routing::{any, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use latchkey_domain::{CallId, RequestId};
use latchkey_jobs::kinds::{ProviderCall, provider_call::CallRequest};
use latchkey_providers::{Permission, Service};
use latchkey_store::{ConnectionRow, KeyMode};
use secrecy::SecretString;
use utoipa::{OpenApi, openapi::path::PathItem};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use later::Backlogs;
pub(crate) use named::make as make_named;
use preference::Preference;

use crate::{
    auth::Partner,
    error::{ApiError, Code},
    reach::Reached,
    reply::Result,
    state::Api,
};

/// The receipt's id, on answers of calls.
const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");

/// Where calls are described in JSON, and their receipts listed.
const CALLS: &str = "/api/v1/calls";

/// The routes of both kinds of calls, for every method. Routes with fixed segments win over these.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    #[derive(OpenApi)]
    #[openapi(paths(
        named::call_named,
        raw::call_raw,
        create::create_call,
        list::list_calls
    ))]
    struct Documented;

    let mut doc = Documented::openapi();
    for (path, item) in &mut doc.paths.paths {
        if path != CALLS {
            name_operations(item);
        }
    }
    OpenApiRouter::with_openapi(doc)
        .route(CALLS, post(create::create_call).get(list::list_calls))
        .route("/api/v1/{provider}/{*path}", any(named::call_named))
        .route("/api/v1/proxy/{provider}/{service}", any(raw::call_raw))
        .route("/api/v1/proxy/{provider}/{service}/", any(raw::call_raw))
        .route(
            "/api/v1/proxy/{provider}/{service}/{*path}",
            any(raw::call_raw),
        )
}

/// One handler documented under several methods has one operation id; each needs its own.
fn name_operations(item: &mut PathItem) {
    let operations = [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    for (method, operation) in operations {
        if let Some(operation) = operation {
            let name = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{name}_{method}"));
        }
    }
}

/// A call that passed every check, ready to be made.
struct Call {
    partner: Partner,
    request_id: RequestId,
    reached: Arc<Reached>,
    provider: String,
    service: String,
    endpoint: String,
    request: CallRequest,
    body: Bytes,
    shape: Shape,
    /// Where its outcome is posted.
    callback_url: Option<SecretString>,
}

/// What the answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The provider's JSON in the envelope.
    Named,
    /// The provider's answer as it is.
    Raw,
    /// The job.
    Job,
}

impl Call {
    /// What its job carries beside the sealed request.
    fn kind(&self, call: CallId) -> ProviderCall {
        ProviderCall {
            call,
            account: self.reached.account.id,
            connection: self.reached.connection.row.id,
            provider: self.provider.clone(),
            service: self.service.clone(),
            endpoint: self.endpoint.clone(),
            test: self.partner.mode == KeyMode::Test,
        }
    }

    /// Makes it: now, or, where the caller prefers that, later.
    async fn make(self, api: &Api, headers: &HeaderMap) -> Result<Response> {
        match Preference::read(headers) {
            Preference::Waiting => waiting::make(api, &self).await,
            Preference::Later(wait) => later::accept(api, &self, wait).await,
        }
    }
}

/// Finds the connection that serves a call to this provider, if the partner may make it.
async fn admit(
    api: &Api,
    partner: &Partner,
    account: &str,
    provider: &str,
) -> Result<Arc<Reached>> {
    partner.may_reach(provider)?;
    let reached = api.reach.find(api, partner.id, account, provider).await?;
    within_quota(api, partner).await?;
    Ok(reached)
}

/// Refuses the call of a partner whose plan has no more of them this month. Test calls are not counted.
pub(crate) async fn within_quota(api: &Api, partner: &Partner) -> Result<()> {
    let plan = &partner.plan;
    if partner.mode == KeyMode::Test || plan.overage.is_some() {
        return Ok(());
    }
    let Some(included) = plan.included_calls_per_month else {
        return Ok(());
    };
    if !plan.blocks_at(api.months.used(api, partner.id).await?) {
        return Ok(());
    }
    let now = api.ctx.now();
    let text = format!(
        "All {included} calls that the plan '{}' has for this month are used. The next month begins in UTC; a \
         larger plan helps at once.",
        partner.row.plan
    );
    Err(ApiError::new(Code::QuotaExceeded, text).retry_after(now.until(now.month_start(1))))
}

/// Refuses what the partner switched off, and what was not granted.
fn check_permission(connection: &ConnectionRow, permission: &str) -> Result<()> {
    if is_on(connection, permission) {
        return Ok(());
    }
    let text = format!(
        "This call needs '{permission}', which is switched off for this integration or was not granted. \
         Switch it on with PATCH …/integrations/{}, or connect again with it.",
        connection.provider
    );
    Err(ApiError::new(Code::ServiceDisabled, text))
}

/// For a raw call: one permission of the service that covers such requests is enough.
fn check_service(connection: &ConnectionRow, service: &Service, method: &Method) -> Result<()> {
    let mut needed = service
        .raw_permissions(method)
        .map(|permission: &Permission| &permission.id);
    if service.permissions.is_empty() || needed.any(|permission| is_on(connection, permission)) {
        return Ok(());
    }
    let what = if method.is_safe() { "reads" } else { "acts" };
    let text = format!(
        "No permission of '{}' that {what} is on for this integration: each is switched off or was not granted.",
        service.slug
    );
    Err(ApiError::new(Code::ServiceDisabled, text))
}

fn is_on(connection: &ConnectionRow, permission: &str) -> bool {
    connection.enabled_services.get(permission) != Some(&false)
}

/// Where the provider honours an idempotency key, the partner's own goes on to it, under its name for it.
fn idempotency_key(service: &Service, headers: &HeaderMap) -> Option<(String, String)> {
    let key = headers.get("idempotency-key")?.to_str().ok()?;
    Some((service.idempotency_header.clone()?, key.to_owned()))
}
