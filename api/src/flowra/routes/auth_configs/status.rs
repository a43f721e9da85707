//! `PATCH /auth_configs/{id}/status`: a disabled config takes no new connections; those it has go on.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::states::AuthConfigStatus;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Body, Id, Path},
    flowra::{
        config::{self, AuthConfigView},
        shape::{Bare, One},
    },
    reply::Result,
    state::Api,
};

/// Which status; without a body the other one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetStatus {
    /// `ENABLED` or `DISABLED`.
    #[schema(example = "DISABLED")]
    status: String,
}

/// Enable or disable an auth config
///
/// Without a body it becomes what it is not.
#[utoipa::path(patch, path = "/api/v1/auth_configs/{auth_config_id}/status", tag = "flowra: auth configs",
    request_body = Option<SetStatus>,
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)",
        example = "ac_019aa000000070008000000000000000")),
    responses((status = 200, body = One<AuthConfigView>)))]
pub(crate) async fn set_auth_config_status(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(id): Path<String>,
    body: Option<Body<SetStatus>>,
) -> Result<Bare<One<AuthConfigView>>> {
    let row = config::find_own(&api, &partner, &id).await?;
    let wanted = match body
        .map(|Body(body)| body.status.to_ascii_uppercase())
        .as_deref()
    {
        Some("ENABLED") => AuthConfigStatus::Enabled,
        Some("DISABLED") => AuthConfigStatus::Disabled,
        Some(_) => return Err(ApiError::field("status", "must be ENABLED or DISABLED")),
        None if row.config.status == AuthConfigStatus::Enabled => AuthConfigStatus::Disabled,
        None => AuthConfigStatus::Enabled,
    };
    if row.config.status != wanted {
        let (store, now) = (&api.ctx.store, api.ctx.now());
        let moved = store
            .set_auth_config_status(partner.id, row.config.id, wanted, None, now)
            .await?;
        if !moved {
            let said = "This auth config changed meanwhile. Try again.";
            return Err(ApiError::new(Code::Conflict, said));
        }
        audit::by_partner(&api, &partner, request_id, "auth_config.update", &id).await;
    }
    let row = config::find_own(&api, &partner, &id).await?;
    Ok(One::of(AuthConfigView::of(&api, &row)))
}
