//! Named endpoints: the provider's JSON, and its refusals.

use std::time::Duration;

use http::Method;
use latchkey_sandbox::{Counter, FaultKind, Target};
use serde_json::json;

use crate::{testing::TestApi, walking::Walk};

const PROFILE: &str = "/api/v1/sandbox/profile";
const MESSAGES: &str = "/api/v1/sandbox/messages";

#[tokio::test]
async fn a_named_endpoint_answers_with_the_providers_json() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    let profile = calling.get(PROFILE).await;
    insta::assert_snapshot!(profile.shown(), @r#"
    200 OK
    {
      "data": {
        "email": "user-1@sandbox.example",
        "name": "User-1",
        "sub": "user-1"
      },
      "ok": true
    }
    "#);
    assert!(profile.header("x-call-id").starts_with("call_"));
    assert_eq!(profile.header("x-ratelimit-minute-limit"), "30");
    let sent = calling.post(MESSAGES, json!({"text": "hello"})).await;
    assert!(sent.status.is_success(), "{}", sent.shown());
    assert_eq!(walk.count(Counter::ApiWrites), 1);
    let listed = calling
        .get("/api/v1/sandbox/api/messages?limit=1")
        .await
        .data();
    assert_eq!(listed["messages"][0]["text"], "hello");
}

#[tokio::test]
async fn what_does_not_fit_the_endpoint_is_named_and_not_sent() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    let before = walk.count(Counter::ApiCalls);
    let mut said = Vec::new();
    for path in [
        "/api/v1/nope/x",
        "/api/v1/sandbox/nope",
        "/api/v1/sandbox/messages?limit=1000",
        "/api/v1/sandbox/messages?limit=x",
    ] {
        said.push(calling.get(path).await);
    }
    said.push(calling.delete(MESSAGES).await);
    said.push(calling.post(MESSAGES, json!({})).await);
    said.push(
        calling
            .post(MESSAGES, json!({"text": "x", "to": "y"}))
            .await,
    );
    said.push(calling.post(MESSAGES, json!([])).await);
    said.push(
        calling
            .with("content-type", "text/plain")
            .send(Method::POST, MESSAGES, "x")
            .await,
    );
    said.push(calling.json(Method::POST, PROFILE, &json!({"a": 1})).await);
    let said = said.iter().map(|answer| answer.said());
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"), @r#"
    NOT_FOUND There is no '/api/v1/nope/x' here: there is no provider or service of this name. See /docs for what there is.
    NOT_FOUND There is no '/api/v1/sandbox/nope' here: this provider has no such endpoint. /api/v1/proxy/{provider}/{service}/… reaches everything else that the provider offers.
    INVALID_REQUEST limit: must be at most 100
    INVALID_REQUEST limit: must be a whole number
    METHOD_NOT_ALLOWED This endpoint does not take DELETE; it takes GET, POST.
    INVALID_REQUEST text: is required
    INVALID_REQUEST to: is not a parameter of this endpoint
    INVALID_REQUEST body: must be a JSON object
    INVALID_REQUEST content-type: must be application/json, not text/plain
    METHOD_NOT_ALLOWED This endpoint does not take POST; it takes GET.
    "#);
    assert_eq!(calling.delete(MESSAGES).await.header("allow"), "GET, POST");
    assert_eq!(walk.count(Counter::ApiCalls), before);
}

#[tokio::test]
async fn a_providers_refusal_is_told_as_it_was() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    insta::assert_snapshot!(calling.get("/api/v1/sandbox/messages/99").await.shown(), @r#"
    502 Bad Gateway
    {
      "details": {
        "body": {
          "error": "not_found"
        },
        "status": 404
      },
      "error": "The provider answered 404.",
      "error_code": "PROVIDER_ERROR",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    let body = Some("{\"error\":\"teapot\"}".to_owned());
    walk.fault(Target::Api, FaultKind::Fail { status: 418, body });
    insta::assert_snapshot!(calling.get(PROFILE).await.shown(), @r#"
    502 Bad Gateway
    {
      "details": {
        "body": {
          "error": "teapot"
        },
        "status": 418
      },
      "error": "The provider answered 418.",
      "error_code": "PROVIDER_ERROR",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    walk.fault(Target::Api, FaultKind::RateLimit { retry_after_s: 7 });
    let limited = calling.get(PROFILE).await;
    assert_eq!(
        (limited.status.as_u16(), limited.code().as_str()),
        (429, "PROVIDER_RATE_LIMITED")
    );
    assert_eq!(limited.header("retry-after"), "7");
    // What it said is heeded: it is not asked before then.
    let before = walk.count(Counter::ApiCalls);
    assert_eq!(calling.get(PROFILE).await.code(), "PROVIDER_RATE_LIMITED");
    assert_eq!(walk.count(Counter::ApiCalls), before);
    walk.api.advance(Duration::from_secs(7));
    for kind in [FaultKind::Html, FaultKind::Garbage] {
        walk.fault(Target::Api, kind);
        let refused = calling.get(PROFILE).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (502, "PROVIDER_ERROR")
        );
        assert_eq!(refused.json()["details"]["status"], 200);
    }
}

#[tokio::test]
async fn answers_and_bodies_have_a_limit() {
    let limits = [
        ("http.call_answer_max_bytes", "4096"),
        ("http.call_body_max_bytes", "4096"),
    ];
    let walk = Walk::with(&limits).await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    walk.fault(Target::Api, FaultKind::Big { bytes: 10_000 });
    assert_eq!(calling.get(PROFILE).await.code(), "PAYLOAD_TOO_LARGE");
    let large = json!({"text": "x".repeat(5000)});
    let refused = calling.post(MESSAGES, large).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (413, "PAYLOAD_TOO_LARGE")
    );
    assert_eq!(walk.count(Counter::ApiWrites), 0);
}

#[tokio::test]
async fn a_grant_that_died_needs_its_user() {
    let walk = Walk::new().await;
    let account = walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    walk.sandbox.revoke_all(None);
    let first = calling.get(PROFILE).await;
    insta::assert_snapshot!(first.shown(), @r#"
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
    // The worker is not asked again.
    let before = walk.count(Counter::TokenRequests);
    walk.api.advance(Duration::from_secs(6));
    let second = calling.get(PROFILE).await;
    assert_eq!(second.json()["error"], first.json()["error"]);
    assert_eq!(walk.count(Counter::TokenRequests), before);
    // Connecting again helps at once.
    walk.connect(&account, "user-1").await;
    assert_eq!(calling.get(PROFILE).await.status, 200);
}

#[tokio::test]
async fn the_same_post_with_the_same_key_acts_once() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1").with("idempotency-key", "k1");
    let first = calling.post(MESSAGES, json!({"text": "hello"})).await;
    let again = calling.post(MESSAGES, json!({"text": "hello"})).await;
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(walk.count(Counter::ApiWrites), 1);
    let other = calling.post(MESSAGES, json!({"text": "other"})).await;
    assert_eq!(other.code(), "IDEMPOTENCY_MISMATCH");
}

#[tokio::test]
async fn a_call_that_nobody_answers_ends_in_time() {
    let api = TestApi::with(&[("calls.wait_ms", "20")]).await;
    let acme = api.partner("Acme").await;
    let account = acme.account("user-1").await;
    api.connection(&acme, &account).await;
    let calling = acme.client.with("x-account-id", "user-1");
    insta::assert_snapshot!(calling.get(PROFILE).await.shown(), @r#"
    504 Gateway Timeout
    {
      "error": "Nothing was heard of this call in time. It can be repeated.",
      "error_code": "PROVIDER_TIMEOUT",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    insta::assert_snapshot!(calling.post(MESSAGES, json!({"text": "x"})).await.shown(), @r#"
    504 Gateway Timeout
    {
      "error": "Nothing was heard of this call in time. It may have been sent; it is not sent again. GET /api/v1/calls shows what became of it (call_<id>).",
      "error_code": "OUTCOME_UNKNOWN",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
}

#[tokio::test]
async fn a_provider_that_hangs_is_not_waited_for() {
    let walk = Walk::with(&[("calls.timeout_ms", "50")]).await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    walk.fault(Target::Api, FaultKind::Hang);
    let read = calling.get(PROFILE).await;
    assert_eq!(
        (read.status.as_u16(), read.code().as_str()),
        (504, "PROVIDER_TIMEOUT")
    );
    walk.fault(Target::Api, FaultKind::Hang);
    let acted = calling.post(MESSAGES, json!({"text": "hello"})).await;
    assert_eq!(
        (acted.status.as_u16(), acted.code().as_str()),
        (504, "OUTCOME_UNKNOWN")
    );
    // Both may have acted, so both count; the receipt is the one that the answer names.
    let calls = calling.get("/api/v1/calls?outcome=unknown").await.data();
    let calls = calls["calls"].as_array().unwrap();
    assert!(calls.len() == 2 && calls.iter().all(|call| call["billed"] == true));
    assert!(
        calls
            .iter()
            .any(|call| call["id"] == acted.header("x-call-id"))
    );
}
