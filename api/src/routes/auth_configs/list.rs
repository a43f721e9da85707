//! `GET /auth_configs`: the partner's own. Shared ones of the operator serve where a partner has none.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{AuthConfigList, all_of};
use crate::{
    auth::Partner,
    extract::Query,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Which configs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAuthConfigs {
    /// Of this provider.
    provider: Option<String>,
}

/// List your OAuth clients
#[utoipa::path(get, path = "/api/v1/auth_configs", tag = "auth configs", params(ListAuthConfigs),
    responses((status = 200, body = Envelope<AuthConfigList>)))]
pub(crate) async fn list_auth_configs(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Query(query): Query<ListAuthConfigs>,
) -> Result<Reply<AuthConfigList>> {
    Ok(Reply(
        all_of(&api, partner.id, query.provider.as_deref()).await?,
    ))
}
