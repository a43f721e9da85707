//! `GET /tools/provider/{provider_slug}`.

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

/// List a provider's tools
#[utoipa::path(get, path = "/api/v1/tools/provider/{provider_slug}", tag = "tools",
    params(("provider_slug" = String, Path, description = "The provider", example = "google"),
        ("X-Account-Id" = Option<String>, Header, description = "An account's `external_id`")),
    responses((status = 200, body = Envelope<Tools>)))]
pub(crate) async fn list_tools_of_provider(
    State(api): State<Arc<Api>>,
    partner: Partner,
    headers: HeaderMap,
    Path(provider): Path<String>,
) -> Result<Reply<Tools>> {
    if api.ctx.catalog.get(&provider).is_none() {
        return Err(ApiError::not_found("provider"));
    }
    let tools = super::tools(&api, &partner, &headers, |found, _| found.slug == provider).await?;
    Ok(Reply(tools.into()))
}
