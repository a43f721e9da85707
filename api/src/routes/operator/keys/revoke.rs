//! `DELETE /operator/partners/{id}/keys/{key_id}`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;

use crate::{
    audit::{self, Change},
    extract::{Id, Path, id},
    reply::{Deleted, Envelope, Reply, Result},
    routes::{operator::find_partner, partner_keys},
    state::Api,
};

/// Revoke a partner's key
#[utoipa::path(delete, path = "/operator/partners/{partner_id}/keys/{key_id}", tag = "keys",
    params(
        ("partner_id" = String, Path, description = "Its id (`prt_…`)"),
        ("key_id" = String, Path, description = "The key's id (`key_…`), not the key itself"),
    ),
    responses((status = 200, body = Envelope<Deleted>)))]
pub(crate) async fn revoke_key(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path((partner, key)): Path<(String, String)>,
) -> Result<Reply<Deleted>> {
    let row = find_partner(&api, &partner).await?;
    partner_keys::revoke(&api, row.id, id(&key, "key")?).await?;
    let change = Change {
        partner: row.id,
        action: "key.revoke",
        subject: &key,
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Deleted::YES)
}
