//! Who is let in, and who is not.

use std::time::Duration;

use http::StatusCode;
use latchkey_domain::KeyId;
use latchkey_store::ApiKeyRow;
use serde_json::json;

use super::*;
use crate::{router, testing::TestApi};

const PATH: &str = "/api/v1/partner";

#[tokio::test]
async fn either_header_and_any_case_of_bearer() {
    let api = TestApi::new().await;
    let key = api.partner("Acme").await.key;
    let (bearer, plain) = (format!("bEARER  {key}"), key.as_str());
    let sent = [
        (vec![("authorization", bearer.as_str())], 200),
        (vec![("x-api-key", plain)], 200),
        (vec![("authorization", &bearer), ("x-api-key", plain)], 200),
        (
            vec![("authorization", &bearer), ("x-api-key", "sk_live_other")],
            401,
        ),
        (vec![("authorization", plain)], 401),
        (vec![("authorization", "Basic c2s6eA==")], 401),
        (vec![("authorization", "Bearer ")], 401),
        (vec![("x-api-key", "")], 401),
        (vec![], 401),
    ];
    for (headers, status) in sent {
        let mut client = api.anyone();
        for (name, value) in &headers {
            client = client.with(name, value);
        }
        let answer = client.get(PATH).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}");
        if status == 401 {
            assert_eq!(answer.code(), "UNAUTHORIZED");
            assert_eq!(answer.header("x-ratelimit-limit"), "");
        }
    }
}

#[tokio::test]
async fn a_wrong_checksum_never_reaches_the_store() {
    let api = TestApi::new().await;
    let mut mistyped = api.partner("Acme").await.key;
    let last = if mistyped.pop() == Some('0') {
        '1'
    } else {
        '0'
    };
    mistyped.push(last);
    let unknown = ApiKey::generate(latchkey_vault::Mode::Live, &*api.api.ctx.entropy);
    // With the store closed, whatever asks it fails.
    api.api.ctx.store.close().await;
    let ask = async |key: &str| api.anyone().with("x-api-key", key).get(PATH).await;
    insta::assert_snapshot!(ask(&mistyped).await.shown(), @r#"
    401 Unauthorized
    {
      "error": "Invalid API key: the API key was mistyped or cut: its checksum does not match.",
      "error_code": "UNAUTHORIZED",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    assert_eq!(ask("sk_live_short").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        ask(unknown.expose()).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_revocation_shows_on_every_server_within_five_seconds() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    // A process of its own hears of no change.
    let mut other = api.api.ctx.clone();
    other.partner_changes = std::sync::Arc::default();
    let elsewhere = router::router(other);
    let elsewhere = api.anyone().at(&elsewhere).with("x-api-key", &acme.key);
    elsewhere.get(PATH).await.data();
    let keys = acme.client.get("/api/v1/partner/keys").await.data();
    let id = keys["keys"][0]["id"].as_str().unwrap();
    acme.client
        .delete(&format!("/api/v1/partner/keys/{id}"))
        .await
        .data();
    assert_eq!(acme.client.get(PATH).await.code(), "UNAUTHORIZED");
    api.advance(Duration::from_millis(4999));
    assert_eq!(elsewhere.get(PATH).await.status, StatusCode::OK);
    api.advance(Duration::from_millis(1));
    assert_eq!(elsewhere.get(PATH).await.code(), "UNAUTHORIZED");
}

#[tokio::test]
async fn use_is_noted_once_a_minute() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let mut seen = Vec::new();
    for _ in 0..7 {
        api.advance(Duration::from_secs(20));
        let listed = acme.client.get("/api/v1/partner/keys").await.data();
        seen.push(listed["keys"][0]["last_used_at"].as_str().unwrap()[14..19].to_owned());
    }
    assert_eq!(
        seen,
        [
            "00:20", "00:20", "00:20", "01:20", "01:20", "01:20", "02:20"
        ]
    );
}

#[tokio::test]
async fn keys_with_one_public_prefix_are_told_apart() {
    let api = TestApi::new().await;
    let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
    let ctx = &api.api.ctx;
    // Another partner's key that happens to begin like Acme's.
    let row = ApiKeyRow {
        id: KeyId::new(ctx.now(), &*ctx.entropy),
        partner_id: other.id,
        lookup: acme.key[..16].to_owned(),
        hash: vec![7; 32],
        mode: KeyMode::Live,
        name: None,
        created_at: ctx.now(),
        revoked_at: None,
        last_used_at: None,
    };
    assert!(ctx.store.insert_api_key(&row, 2).await.unwrap());
    api.api.keys.changed();
    assert_eq!(acme.client.get(PATH).await.data()["company"], "Acme");
}

#[tokio::test]
async fn only_the_operators_token_opens_the_operators_routes() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let operator = api.operator();
    let nobody = api.anyone().at(operator.router());
    for client in [
        nobody.clone(),
        nobody.with("authorization", &format!("Bearer {}", acme.key)),
        nobody.with("authorization", "Bearer "),
        nobody.with("x-api-key", api.api.ctx.operator_token.expose_secret()),
    ] {
        assert_eq!(
            client.get("/operator/partners").await.code(),
            "UNAUTHORIZED"
        );
        assert_eq!(
            client.post("/operator/partners", json!({})).await.code(),
            "UNAUTHORIZED"
        );
    }
    operator.get("/operator/partners").await.data();
}

#[tokio::test]
async fn a_plan_that_the_settings_lost_is_our_failure() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let ctx = &api.api.ctx;
    ctx.store
        .set_partner_plan(acme.id, "gone", ctx.now())
        .await
        .unwrap();
    api.api.keys.changed();
    let answer = acme.client.get(PATH).await;
    assert_eq!(answer.code(), "INTERNAL");
    assert!(!String::from_utf8_lossy(&answer.body).contains("gone"));
}
