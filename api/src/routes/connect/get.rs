//! `GET /accounts/{id}/connect/{sessionId}`.

use std::sync::Arc;

use axum::extract::State;

use super::{ConnectSession, SESSION};
use crate::{
    auth::Partner,
    error::ApiError,
    extract::{self, Path},
    reply::{Envelope, Reply, Result},
    routes::accounts,
    state::Api,
};

/// See how a connect session goes
#[utoipa::path(get, path = "/api/v1/accounts/{account_id}/connect/{session_id}", tag = "connect",
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`"),
        ("session_id" = String, Path, description = "The session's id")),
    responses((status = 200, body = Envelope<ConnectSession>)))]
pub(crate) async fn get_connect_session(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path((account, session)): Path<(String, String)>,
) -> Result<Reply<ConnectSession>> {
    let account = accounts::find(&api, &partner, &account).await?;
    let id = extract::id(&session, SESSION)?;
    let row = api
        .ctx
        .store
        .get_session(partner.id, account.id, id)
        .await?;
    let row = row.ok_or_else(|| ApiError::not_found(SESSION))?;
    Ok(Reply(ConnectSession::of(row, api.ctx.now())))
}
