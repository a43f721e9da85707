//! `DELETE /partner/keys/{id}`: a key stops working, here at once and on every server within seconds.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::KeyMode;

use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Id, Path, id},
    reply::{Deleted, Envelope, Reply, Result},
    state::Api,
};

/// Revoke a key
///
/// Also the one this request is made with, if you ask for that.
#[utoipa::path(delete, path = "/api/v1/partner/keys/{key_id}", tag = "partner",
    params(("key_id" = String, Path, description = "The key's id (`key_…`), not the key itself")),
    responses((status = 200, body = Envelope<Deleted>)))]
pub(crate) async fn revoke_key(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(key_id): Path<String>,
) -> Result<Reply<Deleted>> {
    let key = id(&key_id, "key")?;
    if partner.mode == KeyMode::Test && !is_test_key(&api, &partner, &key_id).await? {
        return Err(ApiError::new(
            Code::TestKeyOnlySandbox,
            "A test key revokes test keys only. Use a live key.",
        ));
    }
    super::revoke(&api, partner.id, key).await?;
    audit::by_partner(&api, &partner, request_id, "key.revoke", &key_id).await;
    Ok(Deleted::YES)
}

/// Whether this id is not that of a live key of the partner.
async fn is_test_key(api: &Api, partner: &Partner, id: &str) -> Result<bool> {
    let keys = api.ctx.store.list_api_keys(partner.id).await?;
    Ok(!keys
        .iter()
        .any(|k| k.id.to_string() == id && k.mode == KeyMode::Live))
}
