//! `GET /connected_accounts/{id}`.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    auth::Partner,
    extract::Path,
    flowra::{
        account::{self, ConnectedAccount},
        shape::Bare,
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// Get a connected account
#[utoipa::path(get, path = "/api/v1/connected_accounts/{connected_account_id}",
    tag = "flowra: connected accounts",
    params(("connected_account_id" = String, Path, description = "Its id",
        example = "019aa000-0000-7000-8000-000000000000"),
        ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = ConnectedAccount)))]
pub(crate) async fn get_connected_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Path(id): Path<String>,
) -> Result<Bare<ConnectedAccount>> {
    let row = account::find(&api, &partner, &user, &id).await?;
    Ok(Bare::ok(account::one(&api, &partner, row).await?))
}
