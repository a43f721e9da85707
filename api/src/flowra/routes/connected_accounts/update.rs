//! `PATCH /connected_accounts/{id}`: its name for people.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::Listed;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    audit,
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::{Body, Id, Path, nullable},
    flowra::{
        account::{self, ConnectedAccount},
        shape::Bare,
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// Characters of a name.
const MAX_NAME: usize = 120;

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct UpdateConnectedAccount {
    /// A name for people of at most 120 characters; `null` clears it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, example = "Ada's mail")]
    display_name: Option<Option<String>>,
}

/// Name a connected account
#[utoipa::path(patch, path = "/api/v1/connected_accounts/{connected_account_id}",
    tag = "flowra: connected accounts", request_body = UpdateConnectedAccount,
    params(("connected_account_id" = String, Path, description = "Its id",
        example = "019aa000-0000-7000-8000-000000000000"),
        ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = ConnectedAccount)))]
pub(crate) async fn update_connected_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Id(request_id): Id,
    Path(id): Path<String>,
    Body(body): Body<UpdateConnectedAccount>,
) -> Result<Bare<ConnectedAccount>> {
    let row = account::find(&api, &partner, &user, &id).await?;
    let mut checks = Checks::default();
    let name = body.display_name.as_ref().and_then(|name| name.as_deref());
    checks.maybe_text("displayName", name, 1, MAX_NAME);
    checks.finish()?;
    if body.display_name.is_some() {
        let (store, now, id) = (&api.ctx.store, api.ctx.now(), account::id_of(&row));
        let changed = match &row {
            Listed::Connection(_) => {
                store
                    .set_connection_display_name(partner.id, id, name, now)
                    .await?
            }
            Listed::Link(_) => store.rename_link(partner.id, id, name).await?,
        };
        if !changed {
            return Err(ApiError::not_found("connected account"));
        }
        let subject = id.to_string();
        audit::by_partner(&api, &partner, request_id, "integration.update", &subject).await;
    }
    let row = account::find(&api, &partner, &user, &id).await?;
    Ok(Bare::ok(account::one(&api, &partner, row).await?))
}
