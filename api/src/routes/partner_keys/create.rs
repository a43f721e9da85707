//! `POST /partner/keys`: a new key, shown once.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::KeyMode;

use super::{MadeKey, ModeName, NewKey, make};
use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Make a key
///
/// Two keys of each mode may live at once: make the new one, use it everywhere, then revoke the old one.
#[utoipa::path(post, path = "/api/v1/partner/keys", tag = "partner", request_body = Option<NewKey>,
    responses((status = 200, body = Envelope<MadeKey>)))]
pub(crate) async fn create_key(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    body: Option<Body<NewKey>>,
) -> Result<Reply<MadeKey>> {
    let new = body.map(|Body(new)| new).unwrap_or_default();
    if partner.mode == KeyMode::Test && new.mode == ModeName::Live {
        return Err(ApiError::new(
            Code::TestKeyOnlySandbox,
            "A test key makes test keys only. Use a live key.",
        ));
    }
    let made = make(&api, partner.id, new).await?;
    audit::by_partner(&api, &partner, id, "key.create", made.id()).await;
    Ok(Reply(made))
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_key_is_shown_once_and_works() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/partner/keys", json!({"name": "second"}))
            .await;
        insta::assert_snapshot!(made.shown(), @r#"
        200 OK
        {
          "data": {
            "created_at": "2026-11-21T20:00:00.000Z",
            "id": "key_<id>",
            "key": "sk_live_<key>",
            "last_used_at": null,
            "mode": "live",
            "name": "second",
            "prefix": "sk_live_<key>",
            "revoked_at": null
          },
          "ok": true
        }
        "#);
        let key = made.data()["key"].as_str().unwrap().to_owned();
        let second = api.anyone().with("x-api-key", &key);
        assert_eq!(second.get("/api/v1/partner").await.status, StatusCode::OK);
        let listed = acme.client.get("/api/v1/partner/keys").await;
        assert!(!String::from_utf8_lossy(&listed.body).contains(&key));
    }

    #[tokio::test]
    async fn two_of_each_mode_may_live() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let keys = "/api/v1/partner/keys";
        // An empty body with a JSON content type is no body: the defaults.
        let json = acme.client.with("content-type", "application/json");
        assert_eq!(
            json.send(Method::POST, keys, "").await.data()["mode"],
            "live"
        );
        let third = acme.client.post(keys, json!({})).await;
        insta::assert_snapshot!(third.shown(), @r#"
        409 Conflict
        {
          "error": "There are 2 live keys in use already. Revoke one first.",
          "error_code": "CONFLICT",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        assert_eq!(
            acme.client.post(keys, json!({"mode": "test"})).await.data()["mode"],
            "test"
        );
    }

    #[tokio::test]
    async fn a_test_key_makes_and_revokes_test_keys_only() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let keys = "/api/v1/partner/keys";
        let test = acme.client.post(keys, json!({"mode": "test"})).await.data();
        let test = api
            .anyone()
            .with("x-api-key", test["key"].as_str().unwrap());
        assert_eq!(
            test.post(keys, json!({})).await.code(),
            "TEST_KEY_ONLY_SANDBOX"
        );
        let listed = test.get(keys).await.data();
        let live = listed["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|k| k["mode"] == "live")
            .unwrap();
        let live = format!("{keys}/{}", live["id"].as_str().unwrap());
        assert_eq!(test.delete(&live).await.code(), "TEST_KEY_ONLY_SANDBOX");
        assert_eq!(
            test.post(keys, json!({"mode": "test"})).await.status,
            StatusCode::OK
        );
    }
}
