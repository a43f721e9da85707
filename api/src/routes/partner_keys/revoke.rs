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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_revoked_key_is_refused_at_once_and_revoked_once() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/partner/keys", json!({}))
            .await
            .data();
        let second = api
            .anyone()
            .with("x-api-key", made["key"].as_str().unwrap());
        second.get("/api/v1/partner").await.data();
        let path = format!("/api/v1/partner/keys/{}", made["id"].as_str().unwrap());
        insta::assert_snapshot!(second.delete(&path).await.shown(), @r#"
        200 OK
        {
          "data": {
            "deleted": true
          },
          "ok": true
        }
        "#);
        insta::assert_snapshot!(second.get("/api/v1/partner").await.shown(), @r#"
        401 Unauthorized
        {
          "error": "Invalid API key: it is not known here, or it was revoked.",
          "error_code": "UNAUTHORIZED",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        assert_eq!(acme.client.delete(&path).await.code(), "NOT_FOUND");
        assert_eq!(
            acme.client
                .delete("/api/v1/partner/keys/nonsense")
                .await
                .code(),
            "NOT_FOUND"
        );
    }
}
