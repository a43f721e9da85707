//! `GET /tools/service/{service}`.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;

use super::Tools;
use crate::{
    auth::Partner,
    error::ApiError,
    extract::Path,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// List a service's tools
///
/// Services of several providers may bear one name; all of them are listed.
#[utoipa::path(get, path = "/api/v1/tools/service/{service}", tag = "tools",
    params(("service" = String, Path, description = "The service", example = "gmail"),
        ("X-Account-Id" = Option<String>, Header, description = "An account's `external_id`")),
    responses((status = 200, body = Envelope<Tools>)))]
pub(crate) async fn list_tools_of_service(
    State(api): State<Arc<Api>>,
    partner: Partner,
    headers: HeaderMap,
    Path(service): Path<String>,
) -> Result<Reply<Tools>> {
    let tools = super::tools(&api, &partner, &headers, |_, found| found.slug == service).await?;
    if tools.is_empty() {
        return Err(ApiError::not_found("service"));
    }
    Ok(Reply(tools.into()))
}
