//! `GET /accounts/{id}/integrations`.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Integration, connections};
use crate::{
    auth::Partner,
    extract::Path,
    reply::{Envelope, Reply, Result},
    routes::accounts,
    state::Api,
};

/// What an account is connected to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Integrations {
    /// Latest connected first; calls use the first of each provider.
    integrations: Vec<Integration>,
}

/// List an account's integrations
#[utoipa::path(get, path = "/api/v1/accounts/{account_id}/integrations", tag = "integrations",
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`")),
    responses((status = 200, body = Envelope<Integrations>)))]
pub(crate) async fn list_integrations(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(account): Path<String>,
) -> Result<Reply<Integrations>> {
    let account = accounts::find(&api, &partner, &account).await?;
    let now = api.ctx.now();
    let found = connections(&api, &account, None).await?;
    let integrations = found
        .iter()
        .map(|connection| Integration::of(connection, now));
    Ok(Reply(Integrations {
        integrations: integrations.collect(),
    }))
}
