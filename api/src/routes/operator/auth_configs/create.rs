//! `POST /operator/auth_configs`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{OwnedAuthConfig, owner};
use crate::{
    audit::{self, Change},
    extract::{Body, Id, Query},
    reply::{Envelope, Reply, Result},
    routes::auth_configs::{NewAuthConfig, make},
    state::Api,
};

/// Whose it shall be.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Owner {
    /// This partner's; left out: shared with all partners.
    pub(crate) partner_id: Option<String>,
}

/// Register an OAuth client, shared or for one partner
#[utoipa::path(post, path = "/operator/auth_configs", tag = "auth configs", params(Owner),
    request_body = NewAuthConfig, responses((status = 200, body = Envelope<OwnedAuthConfig>)))]
pub(crate) async fn create_auth_config(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Query(query): Query<Owner>,
    Body(body): Body<NewAuthConfig>,
) -> Result<Reply<OwnedAuthConfig>> {
    let owner = owner(&api, query.partner_id.as_deref()).await?;
    let made = make(&api, owner, body).await?;
    let change = Change {
        partner: owner,
        action: "auth_config.create",
        subject: &made.id,
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(OwnedAuthConfig::of(owner, made)))
}
