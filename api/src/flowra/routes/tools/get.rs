//! `GET /tools/byId/{id}`.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    auth::Partner,
    error::ApiError,
    extract::Path,
    flowra::{
        shape::{Bare, One},
        tool::{self, ToolView},
    },
    reply::Result,
    state::Api,
};

/// Get a tool
#[utoipa::path(get, path = "/api/v1/tools/byId/{tool}", tag = "flowra: tools",
    params(("tool" = String, Path, description = "Its id, which is its slug", example = "GMAIL_SEND_EMAIL")),
    responses((status = 200, body = One<ToolView>)))]
pub(crate) async fn get_tool(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(slug): Path<String>,
) -> Result<Bare<One<ToolView>>> {
    let tool = tool::find(&api, &slug)?;
    if partner.may_reach(&tool.toolkit.provider.slug).is_err() {
        return Err(ApiError::not_found("tool"));
    }
    Ok(One::of(ToolView::of(&api, tool)))
}
