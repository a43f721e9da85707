//! Accounts connected with credentials that are there already: keys, passwords and tokens.

use latchkey_sandbox::{Counter, Seed, SeededGrant};
use serde_json::{Value, json};

use super::accounts::{PATH, acting};
use crate::{testing::sandbox_config_with, walking::Walk};

/// An auth config of this scheme at the walk's sandbox.
pub(super) async fn config_of(walk: &Walk, scheme: &str) -> String {
    let mut body = sandbox_config_with(&json!({"base_url": walk.sandbox.base_url()}));
    body["authConfig"]["authScheme"] = scheme.into();
    let made = walk.partner.client.post("/api/v1/auth_configs", body).await;
    made.data()["id"].as_str().unwrap().to_owned()
}

fn import(config: &str, scheme: &str, user: &str, val: &Value) -> Value {
    json!({"authConfig": {"id": config},
           "connection": {"eUID": user, "state": {"authScheme": scheme, "val": val}}})
}

#[tokio::test]
async fn keys_and_passwords_are_tried_sealed_and_used() {
    let walk = Walk::new().await;
    let client = &walk.partner.client;
    let given_out = seeded(&walk);
    let owner = given_out.user.as_str();
    for (scheme, user, val) in [
        (
            "API_KEY",
            "ada",
            json!({"generic_api_key": "sandbox-key-ada"}),
        ),
        (
            "BASIC",
            "bob",
            json!({"username": "bob", "password": "sandbox-password"}),
        ),
        (
            "BEARER_TOKEN",
            owner,
            json!({"bearer_token": given_out.access_token}),
        ),
    ] {
        let config = config_of(&walk, scheme).await;
        let made = client.post(PATH, import(&config, scheme, user, &val)).await;
        assert_eq!(made.status, 201, "{}", made.shown());
        let text = made.shown();
        assert!(
            !text.contains("sandbox-") && !text.contains("sbx_at"),
            "{text}"
        );
        assert_eq!(made.json()["status"], "ACTIVE");
        let run = acting(&walk, user)
            .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
            .await;
        assert_eq!(run.json()["data"]["sub"], user, "{}", run.shown());
        let profile = walk.calling(user).get("/api/v1/sandbox/profile").await;
        assert_eq!(profile.data()["sub"], user);
        let one = client
            .get(&format!("{PATH}/{}", made.json()["id"].as_str().unwrap()))
            .await;
        assert!(!one.shown().contains("sandbox-key") && !one.shown().contains("password\": \"s"));
        assert_eq!(one.json()["state"]["authScheme"], scheme);
        // Nothing is spent on it, and nothing is revoked.
        assert_eq!(
            client
                .delete(&format!("{PATH}/{}", made.json()["id"].as_str().unwrap()))
                .await
                .status,
            200
        );
    }
    assert_eq!(
        walk.count(Counter::TokenRefresh) + walk.count(Counter::TokenExchange),
        0
    );
    let config = config_of(&walk, "API_KEY").await;
    let mut said = Vec::new();
    for (scheme, user, val) in [
        ("API_KEY", "ada", json!({"api_key": "wrong"})),
        ("API_KEY", "ada", json!({})),
        ("API_KEY", "ada", json!({"api_key": 7})),
        ("API_KEY", "ada", json!({"api_key": "x", "shop": "y"})),
        ("BASIC", "ada", json!({})),
        ("API_KEY", "a b", json!({"api_key": "sandbox-key-ada"})),
    ] {
        said.push(
            client
                .post(PATH, import(&config, scheme, user, &val))
                .await
                .said(),
        );
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    INVALID_REQUEST connection.state.val: was refused by the provider: it does not work there
    INVALID_REQUEST connection.state.val.api_key is required
    INVALID_REQUEST connection.state.val.api_key must be a text
    INVALID_REQUEST connection.state.val.shop: is not asked for: this toolkit takes api_key
    INVALID_REQUEST connection.state.authScheme: must be API_KEY, as the auth config says
    INVALID_REQUEST connection.eUID: must be 1 to 255 English letters, digits and . _ @ -
    ");
    // Refused credentials leave nothing behind.
    assert_eq!(client.get(PATH).await.json()["totalItems"], 0);
}

#[tokio::test]
async fn imports_take_what_clients_send_beside_credentials() {
    let walk = Walk::new().await;
    let client = &walk.partner.client;
    let config = config_of(&walk, "API_KEY").await;
    let mut body = import(
        &config,
        "API_KEY",
        "ada",
        &json!({"api_key": "sandbox-key-ada", "status": "ACTIVE"}),
    );
    body["validateCredentials"] = true.into();
    body["connection"]["callbackUrl"] = "https://app.example.com/connected".into();
    let made = client.post(PATH, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.shown());
    let id = made.json()["id"].clone();
    assert_eq!(
        made.json()["deprecated"],
        json!({"uuid": id, "authConfigUuid": config})
    );
    assert_eq!(
        (
            &made.json()["redirectUrl"],
            &made.json()["connectionData"]["val"]
        ),
        (&json!(""), &json!({"api_key": "REDACTED"}))
    );
    // The same account at the provider keeps its id.
    body["connectedAccountId"] = id.clone();
    let again = client.post(PATH, body.clone()).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (201, &id));
    assert_eq!(client.get(PATH).await.json()["totalItems"], 1);
    body["connectedAccountId"] = "019aa000-0000-7000-8000-000000000000".into();
    assert_eq!(client.post(PATH, body.clone()).await.code(), "NOT_FOUND");
    body["consentLinkToken"] = "oauth:consent:v1:x".into();
    assert_eq!(
        client.post(PATH, body).await.said(),
        "INVALID_REQUEST consentLinkToken: is not needed here: the page of a link finishes the connection by itself"
    );
}

/// A grant that the sandbox gave out to somebody else.
fn seeded(walk: &Walk) -> SeededGrant {
    walk.sandbox.seed(&Seed::new(1)).unwrap().remove(0)
}

#[tokio::test]
async fn imported_tokens_are_asked_whose_they_are_and_never_spent() {
    let walk = Walk::new().await;
    let client = &walk.partner.client;
    let grant = seeded(&walk);
    let val = json!({"access_token": grant.access_token, "refresh_token": grant.refresh_token, "expires_in": 3600,
                     "scope": "profile messages.read"});
    let made = client
        .post(PATH, import(&walk.auth_config, "OAUTH2", "ada", &val))
        .await;
    assert_eq!(made.status, 201, "{}", made.shown());
    assert_eq!(walk.count(Counter::TokenRefresh), 0);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let seen = client.get(&format!("{PATH}/{id}")).await.json();
    assert_eq!(
        (&seen["status"], &seen["label"]),
        (
            &json!("ACTIVE"),
            &json!(format!("{}@sandbox.example", grant.user))
        )
    );
    let run = acting(&walk, "ada")
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(
        run.json()["data"]["sub"],
        grant.user.as_str(),
        "{}",
        run.shown()
    );
    // It refreshes like any other.
    let asked = client
        .post(&format!("{PATH}/{id}/refresh"), json!({}))
        .await
        .data();
    assert_eq!(
        walk.job(asked["jobId"].as_str().unwrap()).await["status"],
        "completed"
    );
    assert_eq!(walk.count(Counter::TokenRefresh), 1);
    let refused = client
        .post(
            PATH,
            import(
                &walk.auth_config,
                "OAUTH2",
                "bob",
                &json!({"access_token": "no"}),
            ),
        )
        .await;
    assert_eq!(refused.code(), "INVALID_REQUEST");
    let grant = seeded(&walk);
    let token = json!({"token": grant.access_token});
    let bearer = config_of(&walk, "BEARER_TOKEN").await;
    let made = client
        .post(PATH, import(&bearer, "BEARER_TOKEN", "cleo", &token))
        .await;
    assert_eq!(made.json()["status"], "ACTIVE", "{}", made.shown());
    let run = acting(&walk, "cleo")
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(run.json()["data"]["sub"], grant.user.as_str());
}
