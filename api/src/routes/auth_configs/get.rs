//! `GET /auth_configs/{id}`.

use std::sync::Arc;

use axum::extract::State;

use super::AuthConfig;
use crate::{
    auth::Partner,
    error::ApiError,
    extract::{Path, id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Get an OAuth client of yours
#[utoipa::path(get, path = "/api/v1/auth_configs/{auth_config_id}", tag = "auth configs",
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)")),
    responses((status = 200, body = Envelope<AuthConfig>)))]
pub(crate) async fn get_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(config): Path<String>,
) -> Result<Reply<AuthConfig>> {
    let row = api
        .ctx
        .store
        .get_auth_config(partner.id, id(&config, "auth config")?)
        .await?;
    let row = row.ok_or_else(|| ApiError::not_found("auth config"))?;
    Ok(Reply(AuthConfig::of(&api, row)))
}
