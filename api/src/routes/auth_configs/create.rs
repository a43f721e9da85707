//! `POST /auth_configs`: an OAuth client of the partner's own.

use std::sync::Arc;

use axum::extract::State;

use super::{AuthConfig, NewAuthConfig, make};
use crate::{
    audit,
    auth::Partner,
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Register an OAuth client of your own
///
/// Register the answer's `callback_url` with the provider as the client's redirect URI.
#[utoipa::path(post, path = "/api/v1/auth_configs", tag = "auth configs", request_body = NewAuthConfig,
    responses((status = 200, body = Envelope<AuthConfig>)))]
pub(crate) async fn create_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Body(body): Body<NewAuthConfig>,
) -> Result<Reply<AuthConfig>> {
    partner.may_reach(&body.provider)?;
    let made = make(&api, partner.id, body).await?;
    audit::by_partner(&api, &partner, id, "auth_config.create", &made.id).await;
    Ok(Reply(made))
}
