//! `GET /operator/auth_configs/{id}`.

use std::sync::Arc;

use axum::extract::State;

use super::{OwnedAuthConfig, find};
use crate::{
    extract::Path,
    reply::{Envelope, Reply, Result},
    routes::auth_configs::AuthConfig,
    state::Api,
};

/// Get an OAuth client
#[utoipa::path(get, path = "/operator/auth_configs/{auth_config_id}", tag = "auth configs",
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)")),
    responses((status = 200, body = Envelope<OwnedAuthConfig>)))]
pub(crate) async fn get_auth_config(
    State(api): State<Arc<Api>>,
    Path(config): Path<String>,
) -> Result<Reply<OwnedAuthConfig>> {
    let row = find(&api, &config).await?;
    Ok(Reply(OwnedAuthConfig::of(
        row.partner_id,
        AuthConfig::of(&api, row),
    )))
}
