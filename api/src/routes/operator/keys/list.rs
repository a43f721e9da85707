//! `GET /operator/partners/{id}/keys`.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    extract::Path,
    reply::{Envelope, Reply, Result},
    routes::{operator::find_partner, partner_keys::KeyList},
    state::Api,
};

/// List a partner's keys
#[utoipa::path(get, path = "/operator/partners/{partner_id}/keys", tag = "keys",
    params(("partner_id" = String, Path, description = "Its id (`prt_…`)")),
    responses((status = 200, body = Envelope<KeyList>)))]
pub(crate) async fn list_keys(
    State(api): State<Arc<Api>>,
    Path(partner): Path<String>,
) -> Result<Reply<KeyList>> {
    let row = find_partner(&api, &partner).await?;
    let keys = api.ctx.store.list_api_keys(row.id).await?;
    Ok(Reply(KeyList {
        keys: keys.into_iter().map(Into::into).collect(),
    }))
}
