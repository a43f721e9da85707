//! `PATCH /operator/auth_configs/{id}`: switches any OAuth client on or off, or renames it.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;

use super::{OwnedAuthConfig, find};
use crate::{
    audit::{self, Change},
    extract::{Body, Id, Path},
    reply::{Envelope, Reply, Result},
    routes::auth_configs::{UpdateAuthConfig, change},
    state::Api,
};

/// Change an OAuth client
#[utoipa::path(patch, path = "/operator/auth_configs/{auth_config_id}", tag = "auth configs",
    request_body = UpdateAuthConfig,
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)")),
    responses((status = 200, body = Envelope<OwnedAuthConfig>)))]
pub(crate) async fn update_auth_config(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(config): Path<String>,
    Body(body): Body<UpdateAuthConfig>,
) -> Result<Reply<OwnedAuthConfig>> {
    let row = find(&api, &config).await?;
    let owner = row.partner_id;
    let changed = change(&api, row, body).await?;
    let noted = Change {
        partner: owner,
        action: "auth_config.update",
        subject: &config,
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, noted).await;
    Ok(Reply(OwnedAuthConfig::of(owner, changed)))
}
