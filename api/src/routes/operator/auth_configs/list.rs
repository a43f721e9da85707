//! `GET /operator/auth_configs`.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{OwnedAuthConfig, create::Owner, owner};
use crate::{
    extract::Query,
    reply::{Envelope, Reply, Result},
    routes::auth_configs::AuthConfig,
    state::Api,
};

/// OAuth clients of one owner.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnedAuthConfigList {
    /// Newest first.
    auth_configs: Vec<OwnedAuthConfig>,
}

/// List the shared OAuth clients, or a partner's
#[utoipa::path(get, path = "/operator/auth_configs", tag = "auth configs", params(Owner),
    responses((status = 200, body = Envelope<OwnedAuthConfigList>)))]
pub(crate) async fn list_auth_configs(
    State(api): State<Arc<Api>>,
    Query(query): Query<Owner>,
) -> Result<Reply<OwnedAuthConfigList>> {
    let owner = owner(&api, query.partner_id.as_deref()).await?;
    let rows = api.ctx.store.list_auth_configs(owner).await?;
    let auth_configs = rows
        .into_iter()
        .map(|row| OwnedAuthConfig::of(owner, AuthConfig::of(&api, row)))
        .collect();
    Ok(Reply(OwnedAuthConfigList { auth_configs }))
}
