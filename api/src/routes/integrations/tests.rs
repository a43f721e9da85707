//! Integrations as partners see, switch, refresh and end them.

use latchkey_sandbox::Counter;
use serde_json::{Value, json};

use crate::{
    testing::{Answer, TestApi},
    walking::Walk,
};

#[tokio::test]
async fn an_integration_shows_who_connected_and_what_calls_may_use() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let account = acme.account("user-1").await;
    let path = format!("/api/v1/accounts/{account}/integrations");
    insta::assert_snapshot!(acme.client.get(&path).await.shown(), @r#"
    200 OK
    {
      "data": {
        "integrations": []
      },
      "ok": true
    }
    "#);
    api.connection(&acme, &account).await;
    insta::assert_snapshot!(acme.client.get(&path).await.shown(), @r#"
    200 OK
    {
      "data": {
        "integrations": [
          {
            "account_label": "ada@sandbox.example",
            "connected_at": "2026-11-21T20:00:00.000Z",
            "enabled_services": [
              {
                "is_enabled": true,
                "service_name": "notes.read"
              }
            ],
            "expires_at": "2026-11-21T21:00:00.000Z",
            "explanation": "Active; the next refresh is at 2026-11-21T20:50:00.000Z.",
            "id": "<uuid>",
            "next_refresh_at": "2026-11-21T20:50:00.000Z",
            "provider": "sandbox",
            "since": "2026-11-21T20:00:00.000Z",
            "status": "active"
          }
        ]
      },
      "ok": true
    }
    "#);
}

#[tokio::test]
async fn the_partners_own_integrations_are_the_default_accounts() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let own = || acme.client.get("/api/v1/integrations");
    assert_eq!(own().await.data(), json!({"integrations": []}));
    let account = acme.account("project_default_user").await;
    api.connection(&acme, &account).await;
    let seen = own().await.data();
    let first = &seen["integrations"][0];
    assert_eq!(
        (&first["provider"], &first["services"]),
        (&json!("sandbox"), &json!(["notes.read"]))
    );
    acme.account("user-1").await;
    let for_account = |name: &str| {
        let client = acme.client.with("x-account-id", name);
        async move { client.get("/api/v1/integrations").await }
    };
    assert_eq!(
        for_account("user-1").await.data(),
        json!({"integrations": []})
    );
    assert_eq!(for_account("nobody").await.code(), "NOT_FOUND");
    assert_eq!(for_account(" ").await.code(), "INVALID_REQUEST");
}

#[tokio::test]
async fn permissions_are_switched_one_by_one_or_by_service() {
    let walk = Walk::new().await;
    let account = walk.connected("user-1").await;
    let path = format!("/api/v1/accounts/{account}/integrations/sandbox");
    let switch = |body: Value| {
        let (client, path) = (walk.partner.client.clone(), path.clone());
        async move { client.patch(&path, json!({"enabled_services": body})).await }
    };
    let on = |answer: Answer| {
        let data = answer.data();
        let all = data["enabled_services"].as_array().unwrap().clone();
        let on = all.into_iter().filter(|s| s["is_enabled"] == true);
        on.map(|s| s["service_name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        on(switch(json!({"messages.write": false})).await),
        "messages.read profile.read"
    );
    assert_eq!(on(switch(json!({"api": false})).await), "");
    assert_eq!(
        on(switch(json!({"api": true})).await),
        "messages.read messages.write profile.read"
    );
    let mut refused = Vec::new();
    for body in [
        json!({}),
        json!({"gmail.read": true}),
        json!({"messages.read": "yes"}),
        json!([]),
    ] {
        let answer = switch(body).await;
        refused.push(answer.said());
    }
    insta::assert_snapshot!(refused.join("\n"), @r#"
    INVALID_REQUEST enabled_services must name what to switch
    INVALID_REQUEST enabled_services.gmail.read is not a service or permission of this provider
    INVALID_REQUEST enabled_services.messages.read: invalid type: string "yes", expected a boolean
    INVALID_REQUEST enabled_services: invalid type: sequence, expected a map
    "#);
}

#[tokio::test]
async fn what_was_not_granted_cannot_be_switched_on() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk
        .link_with(&account, json!({"scopes": ["messages.read"]}))
        .await;
    walk.browser().connect(&link, "user-1").await;
    let path = format!("/api/v1/accounts/{account}/integrations/sandbox");
    let body = json!({"enabled_services": {"messages.write": true, "messages.read": false}});
    insta::assert_snapshot!(walk.partner.client.patch(&path, body).await.shown(), @r#"
    400 Bad Request
    {
      "details": [
        {
          "field": "enabled_services.messages.write",
          "problem": "was not granted; connect again with it"
        }
      ],
      "error": "enabled_services.messages.write was not granted; connect again with it",
      "error_code": "INVALID_REQUEST",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    // Nothing of it was done.
    let list = walk
        .partner
        .client
        .get(&format!("/api/v1/accounts/{account}/integrations"))
        .await;
    let services = list.data()["integrations"][0]["enabled_services"].clone();
    assert!(
        services
            .as_array()
            .unwrap()
            .contains(&json!({"service_name": "messages.read", "is_enabled": true}))
    );
}

#[tokio::test]
async fn disconnecting_ends_local_use_and_leaves_a_receipt() {
    let walk = Walk::new().await;
    let account = walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    assert_eq!(calling.get("/api/v1/sandbox/profile").await.status, 200);
    let path = format!("/api/v1/accounts/{account}/integrations/sandbox");
    let gone = walk.partner.client.delete(&path).await;
    insta::assert_snapshot!(gone.shown(), @r#"
    200 OK
    {
      "data": {
        "deleted": true,
        "provider": "sandbox",
        "revocation_jobs": [
          "job_<id>"
        ]
      },
      "ok": true
    }
    "#);
    assert_eq!(
        calling.get("/api/v1/sandbox/profile").await.code(),
        "CONNECTION_NOT_FOUND"
    );
    let job = gone.data()["revocation_jobs"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let done = walk.job(&job).await;
    assert_eq!(
        (&done["kind"], &done["status"]),
        (&json!("revoke_grant"), &json!("completed"))
    );
    assert_eq!(done["receipt"]["outcome"], "confirmed");
    assert_eq!(walk.count(Counter::Revocations), 1);
    assert_eq!(walk.sandbox.grants_alive(), 0);
    insta::assert_snapshot!(walk.partner.client.delete(&path).await.shown(), @r#"
    404 Not Found
    {
      "error": "This account is not connected to 'sandbox'. Begin with POST /api/v1/accounts/<uuid>/connect.",
      "error_code": "CONNECTION_NOT_FOUND",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
}

#[tokio::test]
async fn a_refresh_is_a_job() {
    let walk = Walk::new().await;
    let account = walk.connected("user-1").await;
    let path = format!("/api/v1/accounts/{account}/integrations/sandbox/refresh");
    let accepted = walk.partner.client.post(&path, json!({})).await;
    assert_eq!(accepted.status, 202, "{}", accepted.shown());
    let job = accepted.data()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.header("location"), format!("/api/v1/jobs/{job}"));
    assert_eq!(walk.job(&job).await["status"], "completed");
    assert_eq!(walk.count(Counter::TokenRefresh), 1);
    // A grant that the provider ended needs its user.
    walk.sandbox.revoke_all(None);
    let accepted = walk.partner.client.post(&path, json!({})).await;
    let job = accepted.data()["job_id"].as_str().unwrap().to_owned();
    walk.job(&job).await;
    let refused = walk.partner.client.post(&path, json!({})).await;
    insta::assert_snapshot!(refused.shown(), @r#"
    409 Conflict
    {
      "error": "The end user must connect 'sandbox' again (invalid_grant). Begin with POST /api/v1/accounts/<uuid>/connect.",
      "error_code": "NEEDS_REAUTH",
      "ok": false,
      "reason": "invalid_grant",
      "reconnect": {
        "method": "POST",
        "path": "/api/v1/accounts/<uuid>/connect",
        "provider": "sandbox"
      },
      "request_id": "req_<id>"
    }
    "#);
}
