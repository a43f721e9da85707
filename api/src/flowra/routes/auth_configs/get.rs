//! `GET /auth_configs/{id}`.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    auth::Partner,
    extract::Path,
    flowra::{
        config::{self, AuthConfigView},
        shape::{Bare, One},
    },
    reply::Result,
    state::Api,
};

/// Get an auth config
#[utoipa::path(get, path = "/api/v1/auth_configs/{auth_config_id}", tag = "flowra: auth configs",
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)",
        example = "ac_019aa000000070008000000000000000")),
    responses((status = 200, body = One<AuthConfigView>)))]
pub(crate) async fn get_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(id): Path<String>,
) -> Result<Bare<One<AuthConfigView>>> {
    let row = config::find_own(&api, &partner, &id).await?;
    Ok(One::of(AuthConfigView::of(&api, &row)))
}
