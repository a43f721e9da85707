//! `PATCH /connected_accounts/{id}/status`: an inactive one runs no tools.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::Listed;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Body, Id, Path},
    flowra::{
        account::{self, ConnectedAccount},
        shape::Bare,
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// On or off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetEnabled {
    /// Whether it may run tools.
    #[schema(example = false)]
    enabled: bool,
}

/// Switch a connected account on or off
#[utoipa::path(patch, path = "/api/v1/connected_accounts/{connected_account_id}/status",
    tag = "flowra: connected accounts", request_body = SetEnabled,
    params(("connected_account_id" = String, Path, description = "Its id",
        example = "019aa000-0000-7000-8000-000000000000"),
        ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = ConnectedAccount)))]
pub(crate) async fn set_connected_account_status(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Id(request_id): Id,
    Path(id): Path<String>,
    Body(body): Body<SetEnabled>,
) -> Result<Bare<ConnectedAccount>> {
    let row = account::find(&api, &partner, &user, &id).await?;
    let Listed::Connection(_) = &row else {
        let said = "This account is not connected yet, so there is nothing to switch.";
        return Err(ApiError::new(Code::Conflict, said));
    };
    let (store, now, id) = (&api.ctx.store, api.ctx.now(), account::id_of(&row));
    // `false` says that it is so already.
    if store
        .pause_connection(partner.id, id, !body.enabled, now)
        .await?
    {
        api.reach.changed();
        let subject = id.to_string();
        audit::by_partner(&api, &partner, request_id, "integration.update", &subject).await;
    }
    let row = account::find(&api, &partner, &user, &id.to_string()).await?;
    Ok(Bare::ok(account::one(&api, &partner, row).await?))
}
