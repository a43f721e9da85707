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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn revoked_keys_stay_listed() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/partner/keys", json!({"name": "old"}))
            .await
            .data();
        let path = format!("/api/v1/partner/keys/{}", made["id"].as_str().unwrap());
        acme.client.delete(&path).await.data();
        insta::assert_snapshot!(acme.client.get("/api/v1/partner/keys").await.shown(), @r#"
        200 OK
        {
          "data": {
            "keys": [
              {
                "created_at": "2026-11-21T20:00:00.000Z",
                "id": "key_<id>",
                "last_used_at": "2026-11-21T20:00:00.000Z",
                "mode": "live",
                "name": null,
                "prefix": "sk_live_<key>",
                "revoked_at": null
              },
              {
                "created_at": "2026-11-21T20:00:00.000Z",
                "id": "key_<id>",
                "last_used_at": null,
                "mode": "live",
                "name": "old",
                "prefix": "sk_live_<key>",
                "revoked_at": "2026-11-21T20:00:00.000Z"
              }
            ]
          },
          "ok": true
        }
        "#);
    }
}
