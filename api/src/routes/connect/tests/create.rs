//! Beginning a session: the link, what is refused, and which client serves.

use serde_json::{Value, json};

use crate::testing::{TestApi, sandbox_client, sandbox_config};

const URL: &str = "https://app.example.com/cb";

#[tokio::test]
async fn a_session_begins_with_a_link() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    acme.client
        .post("/api/v1/auth_configs", sandbox_config())
        .await
        .data();
    acme.account("user-1").await;
    let body = json!({"provider": "sandbox", "redirect_url": URL});
    let begun = acme
        .client
        .post("/api/v1/accounts/ext:user-1/connect", body)
        .await;
    let data = begun.data();
    let url = data["connect_url"].as_str().unwrap();
    let secret = url.strip_prefix("http://127.0.0.1:8080/connect/").unwrap();
    assert_eq!(secret.len(), 43);
    assert_eq!(data["expires_at"], "2026-11-21T20:30:00.000Z");
    let session = data["session_id"].as_str().unwrap();
    let path = format!("/api/v1/accounts/ext:user-1/connect/{session}");
    insta::assert_snapshot!(acme.client.get(&path).await.shown(), @r#"
    200 OK
    {
      "data": {
        "created_at": "2026-11-21T20:00:00.000Z",
        "expires_at": "2026-11-21T20:30:00.000Z",
        "provider": "sandbox",
        "session_id": "<uuid>",
        "status": "pending"
      },
      "ok": true
    }
    "#);
    // Of another account it is not.
    let other = acme.account("user-2").await;
    let path = format!("/api/v1/accounts/{other}/connect/{session}");
    assert_eq!(acme.client.get(&path).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let path = format!("/api/v1/accounts/{}/connect", acme.account("user-1").await);
    let with = |more: Value| {
        let mut body = json!({"provider": "sandbox", "redirect_url": URL});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (client, path) = (acme.client.clone(), path.clone());
        async move {
            let answer = client.post(&path, body).await;
            answer.said()
        }
    };
    let mut said = vec![with(json!({})).await];
    acme.client
        .post("/api/v1/auth_configs", sandbox_config())
        .await
        .data();
    let names: Vec<_> = (0..101).map(|n| format!("s{n}")).collect();
    for wrong in [
        json!({"redirect_url": "https://app.example.com/cb/"}),
        json!({"redirect_url": "https://app.example.com/cb#x"}),
        json!({"redirect_url": "javascript:alert(1)"}),
        json!({"redirect_url": null}),
        json!({"provider": "nope"}),
        json!({"provider": "google"}),
        json!({"scopes": ["a b"]}),
        json!({"scopes": "a"}),
        json!({"scopes": names}),
        json!({"services": ["nope"]}),
        json!({"confirmation": "maybe"}),
        json!({"auth_config_id": "ac_x"}),
        json!({"params": {"shop": "x"}}),
        json!({"redirect": "x"}),
    ] {
        said.push(with(wrong).await);
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    INVALID_REQUEST provider: has no enabled OAuth client here: add yours for 'sandbox' with POST /api/v1/auth_configs, or ask the operator for a shared one
    INVALID_REQUEST redirect_url is not one of your registered redirect URLs (PUT /api/v1/partner/redirect_urls): it must be the same text; only a loopback host's port is free
    INVALID_REQUEST redirect_url must not hold a fragment (#…)
    INVALID_REQUEST redirect_url must begin with https://
    INVALID_REQUEST redirect_url: invalid type: null, expected a string
    INVALID_REQUEST provider: is not a provider of this server
    INVALID_REQUEST provider: has no enabled OAuth client here: add yours for 'google' with POST /api/v1/auth_configs, or ask the operator for a shared one
    INVALID_REQUEST scopes: 'a b' is not a scope
    INVALID_REQUEST scopes: invalid type: string "a", expected a sequence
    INVALID_REQUEST scopes must be at most 100
    INVALID_REQUEST services: 'nope' is not a service or permission of this provider
    INVALID_REQUEST confirmation must be 'none' or 'partner'
    NOT_FOUND There is no such auth config.
    INVALID_REQUEST params: 'shop' is not a parameter of this provider
    INVALID_REQUEST redirect: unknown field `redirect`, expected one of `provider`, `redirect_url`, `scopes`, `services`, `auth_config_id`, `confirmation`, `params`
    "#);
}

#[tokio::test]
async fn the_client_is_the_partners_newest_else_the_operators() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let account = acme.account("user-1").await;
    let connect = format!("/api/v1/accounts/{account}/connect");
    let used = async |more: Value| {
        let mut body = json!({"provider": "sandbox", "redirect_url": URL});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let begun = acme.client.post(&connect, body).await;
        if !begun.status.is_success() {
            return begun.code();
        }
        let id = begun.data()["session_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let row = api
            .api
            .ctx
            .store
            .get_partner_session(acme.id, id)
            .await
            .unwrap()
            .unwrap();
        row.auth_config_id.to_string()
    };
    let made = api
        .operator()
        .post("/operator/auth_configs", sandbox_client())
        .await
        .data();
    let shared = made["id"].as_str().unwrap().to_owned();
    assert_eq!(used(json!({})).await, shared);
    let own = api.auth_config(&acme).await.to_string();
    assert_eq!(used(json!({})).await, own);
    assert_eq!(used(json!({"auth_config_id": shared})).await, shared);
    let other = api.partner("Other").await;
    let theirs = api.auth_config(&other).await.to_string();
    assert_eq!(used(json!({"auth_config_id": theirs})).await, "NOT_FOUND");
    let path = format!("/api/v1/auth_configs/{own}/status");
    acme.client
        .patch(&path, json!({"status": "DISABLED"}))
        .await
        .data();
    assert_eq!(used(json!({})).await, shared);
    assert_eq!(used(json!({"auth_config_id": own})).await, "CONFLICT");
}

#[tokio::test]
async fn a_test_key_connects_to_the_sandbox_alone() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    acme.client
        .post("/api/v1/auth_configs", sandbox_config())
        .await
        .data();
    let path = format!("/api/v1/accounts/{}/connect", acme.account("user-1").await);
    let keys = acme
        .client
        .post("/api/v1/partner/keys", json!({"mode": "test"}))
        .await
        .data();
    let key = format!("Bearer {}", keys["key"].as_str().unwrap());
    let testing = api.anyone().with("authorization", &key);
    let at = |provider: &str| json!({"provider": provider, "redirect_url": URL});
    assert_eq!(testing.post(&path, at("sandbox")).await.status, 200);
    assert_eq!(
        testing.post(&path, at("google")).await.code(),
        "TEST_KEY_ONLY_SANDBOX"
    );
}
