//! `GET /toolkits/byId/{id}`, and `GET /toolkits/{slug}`.

use std::sync::Arc;

use axum::extract::State;

use super::{view, visible};
use crate::{
    auth::Partner,
    error::ApiError,
    extract::Path,
    flowra::{
        shape::{Bare, One},
        toolkit::ToolkitView,
    },
    reply::Result,
    state::Api,
};

/// Get a toolkit
#[utoipa::path(get, path = "/api/v1/toolkits/byId/{toolkit}", tag = "flowra: toolkits",
    params(("toolkit" = String, Path, description = "Its id, which is its slug", example = "gmail")),
    responses((status = 200, body = One<ToolkitView>)))]
pub(crate) async fn get_toolkit_by_id(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(slug): Path<String>,
) -> Result<Bare<One<ToolkitView>>> {
    find(&api, &partner, &slug).await
}

/// Get a toolkit by its slug
#[utoipa::path(get, path = "/api/v1/toolkits/{toolkit}", tag = "flowra: toolkits",
    params(("toolkit" = String, Path, description = "Its slug", example = "gmail")),
    responses((status = 200, body = One<ToolkitView>)))]
pub(crate) async fn get_toolkit(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(slug): Path<String>,
) -> Result<Bare<One<ToolkitView>>> {
    find(&api, &partner, &slug).await
}

async fn find(api: &Api, partner: &Partner, slug: &str) -> Result<Bare<One<ToolkitView>>> {
    let slug = slug.to_ascii_lowercase();
    let found = visible(api, partner)
        .into_iter()
        .find(|toolkit| toolkit.slug() == slug);
    let found = found.ok_or_else(|| ApiError::not_found("toolkit"))?;
    Ok(One::of(view(api, found).await?))
}
