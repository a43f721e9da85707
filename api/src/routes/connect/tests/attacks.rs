//! The attacks on a connect session (`reliability.md` A1–A3): each ends without a request to the token
//! endpoint, and confirmation by the partner's backend, which is the answer to the first of them.

use std::time::Duration;

use crate::testing::sandbox_config_with;
use latchkey_sandbox::{Counter, IssMode};
use serde_json::json;

use crate::walking::{Walk, landing};

const OVER: Duration = Duration::from_secs(31 * 60);

// A1
#[tokio::test]
async fn a_consent_brought_to_another_browser_is_no_consent() {
    let walk = Walk::new().await;
    let account = walk.partner.account("attacker").await;
    let link = walk.link(&account).await;
    // The attacker begins, and sends the provider's address to the victim, who agrees.
    let mut attacker = walk.browser();
    let authorize = attacker.reach_provider(&link).await;
    let mut victim = walk.browser();
    let back = victim.decide(&authorize, "victim", "allow").await;
    let refused = victim.open(&back).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("location"), "");
    assert_eq!(walk.count(Counter::TokenRequests), 0);
    assert_eq!(walk.status(&link).await, "failed browser_mismatch");
    // Nor does it help the attacker to bring the same answer in the right browser.
    assert_eq!(attacker.open(&back).await.status, 400);
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}

// A2
#[tokio::test]
async fn an_answer_at_another_callback_is_not_believed() {
    let walk = Walk::new().await;
    let other = sandbox_config_with(&json!({
        "client_id": "sandbox-client", "client_secret": "sandbox-secret",
        "base_url": walk.sandbox.base_url(),
    }));
    let other = walk
        .partner
        .client
        .post("/api/v1/auth_configs", other)
        .await
        .data();
    let account = walk.partner.account("user-1").await;
    let chosen = json!({"auth_config_id": walk.auth_config});
    for wrong in [
        other["id"].as_str().unwrap(),
        "ac_00000000000070008000000000000000",
        "x",
    ] {
        let link = walk.link_with(&account, chosen.clone()).await;
        let mut browser = walk.browser();
        let back = browser.reach_callback(&link, "user-1").await;
        assert!(back.contains(&walk.auth_config));
        let refused = browser.open(&back.replace(&walk.auth_config, wrong)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("location")),
            (400, "")
        );
        assert_eq!(walk.status(&link).await, "failed callback_mismatch");
        assert_eq!(browser.open(&back).await.status, 400);
    }
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}

// A2, RFC 9207
#[tokio::test]
async fn an_answer_of_another_issuer_or_of_none_is_not_believed() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    for mode in [IssMode::Wrong, IssMode::Omit] {
        walk.sandbox.change(|settings| settings.iss = mode).unwrap();
        let link = walk.link(&account).await;
        let landed = walk.browser().connect(&link, "user-1").await;
        assert_eq!(
            (landed["status"].as_str(), landed["error"].as_str()),
            ("error", "issuer_mismatch")
        );
        assert_eq!(walk.status(&link).await, "failed issuer_mismatch");
    }
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}

// A3
#[tokio::test]
async fn a_state_works_once() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let mut browser = walk.browser();
    let back = browser.reach_callback(&link, "user-1").await;
    let mut twin = browser.clone();
    let (one, two) = tokio::join!(browser.open(&back), twin.open(&back));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 400]);
    assert_eq!(browser.open(&back).await.status, 400);
    assert_eq!(walk.count(Counter::TokenRequests), 1);
    assert_eq!(walk.status(&link).await, "completed");
}

// A3
#[tokio::test]
async fn a_state_that_is_unknown_doubled_late_or_dead_leads_nowhere() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let here = format!("/api/v1/connect/callback/{}", walk.auth_config);
    let link = walk.link(&account).await;
    let mut browser = walk.browser();
    let back = browser.reach_callback(&link, "user-1").await;
    let long = "x".repeat(9000);
    for query in [
        String::new(),
        "?state=".to_owned(),
        "?state=unknown&code=x".to_owned(),
        format!("?state={long}&code=x"),
        format!("{}&state=x", &back[here.len()..]),
        format!("{}&code=x", &back[here.len()..]),
    ] {
        let refused = browser.open(&format!("{here}{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("location")),
            (400, ""),
            "{query}"
        );
        assert!(refused.header("content-type").starts_with("text/html"));
    }
    // Those told nothing about the session, which waits on.
    assert_eq!(walk.status(&link).await, "authorizing");
    walk.api.advance(OVER);
    let late = landing(&browser.open(&back).await);
    assert_eq!(late["error"], "session_expired");
    assert_eq!(walk.status(&link).await, "failed session_expired");
    assert_eq!(browser.open(&back).await.status, 400);
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}

// A1
#[tokio::test]
async fn a_consent_brought_into_another_login_is_refused() {
    let walk = Walk::new().await;
    walk.partner.account("victim").await;
    let account = walk.partner.account("attacker").await;
    let link = walk
        .link_with(&account, json!({"confirmation": "partner"}))
        .await;
    // The victim opens the attacker's link and agrees; the partner knows who is logged in.
    let landed = walk.browser().connect(&link, "victim").await;
    let path = format!("/api/v1/connect-sessions/{}/complete", link.session);
    let code = &landed["completion_code"];
    let body = json!({"completion_code": code, "external_id": "victim"});
    let refused = walk.partner.client.post(&path, body).await;
    insta::assert_snapshot!(refused.shown(), @r#"
    403 Forbidden
    {
      "error": "This session is another account's. It was ended; nothing was connected.",
      "error_code": "CONFIRMATION_REFUSED",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    assert_eq!(walk.status(&link).await, "failed confirmation_refused");
    let body = json!({"completion_code": code, "external_id": "attacker"});
    assert_eq!(
        walk.partner.client.post(&path, body).await.code(),
        "CONFLICT"
    );
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}

#[tokio::test]
async fn a_partners_backend_confirms_who_came_back() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk
        .link_with(&account, json!({"confirmation": "partner"}))
        .await;
    let mut browser = walk.browser();
    let landed = browser.connect(&link, "user-1").await;
    let keys: Vec<_> = landed.keys().map(String::as_str).collect();
    assert_eq!(keys, ["completion_code", "session_id", "status"]);
    assert_eq!(
        (landed["status"].as_str(), landed["session_id"].as_str()),
        ("confirm", &*link.session)
    );
    assert_eq!(walk.status(&link).await, "awaiting_confirmation");
    assert_eq!(walk.count(Counter::TokenRequests), 0);
    // Whoever comes back to the page learns that it waits.
    let status = format!("{}/status", link.page);
    let waiting = landing(&browser.open(&status).await);
    assert_eq!(waiting["error"], "confirmation_required");
    let path = format!("/api/v1/connect-sessions/{}/complete", link.session);
    let complete = |code: &str, external_id: &str| {
        let body = json!({"completion_code": code, "external_id": external_id});
        let (client, path) = (walk.partner.client.clone(), path.clone());
        async move { client.post(&path, body).await }
    };
    let wrong = complete("guess", "user-1").await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code().as_str()),
        (403, "CONFIRMATION_REFUSED")
    );
    assert_eq!(walk.status(&link).await, "awaiting_confirmation");
    let done = complete(&landed["completion_code"], "user-1").await;
    insta::assert_snapshot!(done.shown(), @r#"
    200 OK
    {
      "data": {
        "created_at": "2026-11-21T20:00:00.000Z",
        "expires_at": "2026-11-21T20:30:00.000Z",
        "provider": "sandbox",
        "session_id": "<uuid>",
        "status": "completed"
      },
      "ok": true
    }
    "#);
    assert_eq!(walk.count(Counter::TokenExchange), 1);
    insta::assert_snapshot!(complete(&landed["completion_code"], "user-1").await.shown(), @r#"
    409 Conflict
    {
      "error": "This connect session is completed; it does not wait for a confirmation.",
      "error_code": "CONFLICT",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
}

/// A provider's code may live for less than a session: the partner's backend has as long as the code.
#[tokio::test]
async fn a_session_ends_with_its_code() {
    let entries = tempfile::tempdir().unwrap();
    let entry = "extends = \"sandbox\"\n[oauth.token]\ncode_ttl_s = 30\n";
    std::fs::write(entries.path().join("sandbox.toml"), entry).unwrap();
    let walk = Walk::with(&[("catalog_dir", entries.path().to_str().unwrap())]).await;
    walk.confirmed_by_partner().await;
    let account = walk.partner.account("user-1").await;
    for (waited, code) in [(29, ""), (30, "SESSION_EXPIRED")] {
        let link = walk.link(&account).await;
        let landed = walk.browser().connect(&link, "user-1").await;
        let seen = walk.partner.client.get(&link.status).await.data();
        let life = ["created_at", "expires_at"].map(|name| {
            let at = seen[name].as_str().unwrap();
            latchkey_domain::Timestamp::parse(at).unwrap()
        });
        assert_eq!(life[0].until(life[1]), Duration::from_secs(30));
        walk.api.advance(Duration::from_secs(waited));
        let path = format!("/api/v1/connect-sessions/{}/complete", link.session);
        let body = json!({"completion_code": landed["completion_code"], "external_id": "user-1"});
        let answer = walk.partner.client.post(&path, body).await;
        if code.is_empty() {
            assert_eq!(answer.data()["status"], "completed");
        } else {
            assert_eq!(answer.code(), code);
        }
    }
    assert_eq!(walk.count(Counter::TokenRequests), 1);
}

#[tokio::test]
async fn a_confirmation_comes_in_time_or_not_at_all() {
    let walk = Walk::new().await;
    walk.confirmed_by_partner().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let landed = walk.browser().connect(&link, "user-1").await;
    assert_eq!(landed["status"], "confirm");
    walk.api.advance(OVER);
    let path = format!("/api/v1/connect-sessions/{}/complete", link.session);
    let body = json!({"completion_code": landed["completion_code"], "external_id": "user-1"});
    let late = walk.partner.client.post(&path, body.clone()).await;
    assert_eq!(
        (late.status.as_u16(), late.code().as_str()),
        (410, "SESSION_EXPIRED")
    );
    for wrong in [
        json!({}),
        json!({"completion_code": "x"}),
        json!({"completion_code": 1, "external_id": "x"}),
    ] {
        assert_eq!(
            walk.partner.client.post(&path, wrong).await.code(),
            "INVALID_REQUEST"
        );
    }
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}
