//! Who may call what: accounts, permissions, kinds of keys, and plans.

use std::time::Duration;

use http::Method;
use latchkey_sandbox::Counter;
use serde_json::json;

use crate::{testing::Client, walking::Walk};

const PROFILE: &str = "/api/v1/sandbox/profile";
const MESSAGES: &str = "/api/v1/sandbox/messages";

#[tokio::test]
async fn the_account_is_the_partners_own_and_connected() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    walk.partner.account("user-2").await;
    let other = walk.api.partner("Other").await;
    let for_account = |client: &Client, name: &str| {
        let client = client.with("x-account-id", name);
        async move { client.get(PROFILE).await }
    };
    insta::assert_snapshot!(for_account(&walk.partner.client, "user-2").await.shown(), @r#"
    404 Not Found
    {
      "error": "This account is not connected to 'sandbox'. Begin with POST /api/v1/accounts/<uuid>/connect.",
      "error_code": "CONNECTION_NOT_FOUND",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    let missing = for_account(&walk.partner.client, "nobody").await;
    let theirs = for_account(&other.client, "user-1").await;
    assert_eq!(
        (missing.code(), theirs.code()),
        ("NOT_FOUND".to_owned(), "NOT_FOUND".to_owned())
    );
    assert_eq!(missing.json()["error"], theirs.json()["error"]);
    insta::assert_snapshot!(walk.partner.client.get(PROFILE).await.shown(), @r#"
    400 Bad Request
    {
      "details": [
        {
          "field": "x-account-id",
          "problem": "is missing, and there is no default account 'project_default_user': send the external_id of the account that the call acts for"
        }
      ],
      "error": "x-account-id: is missing, and there is no default account 'project_default_user': send the external_id of the account that the call acts for",
      "error_code": "INVALID_REQUEST",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    walk.connected("project_default_user").await;
    let own = walk.partner.client.get(PROFILE).await.data();
    assert_eq!(own["sub"], "project_default_user");
}

#[tokio::test]
async fn what_is_switched_off_is_not_called() {
    let walk = Walk::new().await;
    let account = walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    assert_eq!(calling.get(MESSAGES).await.status, 200);
    let path = format!("/api/v1/accounts/{account}/integrations/sandbox");
    let switch = |body: serde_json::Value| {
        let (client, path) = (walk.partner.client.clone(), path.clone());
        async move {
            client
                .patch(&path, json!({"enabled_services": body}))
                .await
                .data()
        }
    };
    switch(json!({"messages.read": false, "messages.write": false})).await;
    insta::assert_snapshot!(calling.get(MESSAGES).await.shown(), @r#"
    403 Forbidden
    {
      "error": "This call needs 'messages.read', which is switched off for this integration or was not granted. Switch it on with PATCH …/integrations/sandbox, or connect again with it.",
      "error_code": "SERVICE_DISABLED",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    assert_eq!(calling.get(PROFILE).await.status, 200);
    let raw = "/api/v1/proxy/sandbox/api/echo";
    assert_eq!(calling.get(raw).await.status, 200);
    let acting = calling.send(Method::POST, raw, "x").await;
    assert_eq!(
        (acting.status.as_u16(), acting.code().as_str()),
        (403, "SERVICE_DISABLED")
    );
    assert_eq!(walk.count(Counter::ApiWrites), 0);
}

#[tokio::test]
async fn a_test_key_reaches_the_sandbox_alone_and_is_not_billed() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let body = json!({"mode": "test"});
    let made = walk
        .partner
        .client
        .post("/api/v1/partner/keys", body)
        .await
        .data();
    let key = format!("Bearer {}", made["key"].as_str().unwrap());
    let testing = walk
        .api
        .anyone()
        .with("authorization", &key)
        .with("x-account-id", "user-1");
    for path in [
        "/api/v1/google/gmail/messages",
        "/api/v1/gmail/messages",
        "/api/v1/proxy/github/api/user",
    ] {
        let refused = testing.get(path).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "TEST_KEY_ONLY_SANDBOX")
        );
    }
    let live = "/api/v1/accounts/ext:user-1/integrations/google";
    assert_eq!(testing.delete(live).await.code(), "TEST_KEY_ONLY_SANDBOX");
    assert_eq!(testing.get(PROFILE).await.status, 200);
    let calls = testing.get("/api/v1/calls").await.data();
    let first = &calls["calls"][0];
    assert_eq!(
        (&first["billed"], &first["not_billed_reason"]),
        (&json!(false), &json!("test_key"))
    );
}

#[tokio::test]
async fn a_plan_without_overage_ends_at_its_calls() {
    let walk = Walk::with(&[("plans.free.included_calls_per_month", "1")]).await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    let first = calling.get(PROFILE).await;
    assert_eq!(
        (first.status.as_u16(), first.header("x-ratelimit-limit")),
        (200, "1")
    );
    walk.api.advance(Duration::from_secs(3));
    let second = calling.get(PROFILE).await;
    insta::assert_snapshot!(second.shown(), @r#"
    429 Too Many Requests
    {
      "error": "All 1 calls that the plan 'free' has for this month are used. The next month begins in UTC; a larger plan helps at once.",
      "error_code": "QUOTA_EXCEEDED",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    assert_eq!(second.header("x-ratelimit-remaining"), "0");
    assert_eq!(
        second.header("retry-after"),
        (10 * 24 * 3600 - 20 * 3600 + 24 * 3600 - 3 - 24 * 3600).to_string()
    );
    // Test calls go on.
    let made = walk
        .partner
        .client
        .post("/api/v1/partner/keys", json!({"mode": "test"}))
        .await;
    let key = format!("Bearer {}", made.data()["key"].as_str().unwrap());
    let testing = walk
        .api
        .anyone()
        .with("authorization", &key)
        .with("x-account-id", "user-1");
    assert_eq!(testing.get(PROFILE).await.status, 200);
}

#[tokio::test]
async fn a_budget_that_the_provider_publishes_is_kept_without_asking_it() {
    let entries = tempfile::tempdir().unwrap();
    let entry = "extends = \"sandbox\"\n[rate]\nbudgets = [{ scope = \"user\", requests = 1, per_s = 60 }]\n";
    std::fs::write(entries.path().join("sandbox.toml"), entry).unwrap();
    let walk = Walk::with(&[("catalog_dir", entries.path().to_str().unwrap())]).await;
    walk.connected("user-1").await;
    walk.connected("user-2").await;
    let (ours, others) = (walk.calling("user-1"), walk.calling("user-2"));
    assert_eq!(ours.get(PROFILE).await.status, 200);
    let before = walk.count(Counter::ApiCalls);
    let refused = ours.get(PROFILE).await;
    assert_eq!(refused.code(), "PROVIDER_RATE_LIMITED");
    assert_eq!(refused.header("retry-after"), "60");
    assert_eq!(walk.count(Counter::ApiCalls), before);
    // It is each user's own, and comes back.
    assert_eq!(others.get(PROFILE).await.status, 200);
    walk.api.advance(Duration::from_secs(60));
    assert_eq!(ours.get(PROFILE).await.status, 200);
    // One that is unsure holds nobody back.
    let unsure = format!("unsure = [\"rate.budgets\"]\n{entry}");
    std::fs::write(entries.path().join("sandbox.toml"), unsure).unwrap();
    let walk = Walk::with(&[("catalog_dir", entries.path().to_str().unwrap())]).await;
    walk.connected("user-1").await;
    let ours = walk.calling("user-1");
    for _ in 0..2 {
        assert_eq!(ours.get(PROFILE).await.status, 200);
    }
}
