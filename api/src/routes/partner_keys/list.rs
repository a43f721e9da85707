//! `GET /partner/keys`.

use std::sync::Arc;

use axum::extract::State;

use super::KeyList;
use crate::{
    auth::Partner,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Your keys
#[utoipa::path(get, path = "/api/v1/partner/keys", tag = "partner",
    responses((status = 200, body = Envelope<KeyList>)))]
pub(crate) async fn list_keys(
    State(api): State<Arc<Api>>,
    partner: Partner,
) -> Result<Reply<KeyList>> {
    let rows = api.ctx.store.list_api_keys(partner.id).await?;
    Ok(Reply(KeyList {
        keys: rows.into_iter().map(Into::into).collect(),
    }))
}
