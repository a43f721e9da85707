//! Calls that are described in JSON, waits that end early or late, and canceling.

use latchkey_sandbox::{Counter, FaultKind, Target};
use serde_json::{Value, json};

use crate::walking::Walk;

const CALLS: &str = "/api/v1/calls";
const PROFILE: &str = "/api/v1/sandbox/profile";

/// A request to the sandbox's echo.
fn echo(more: &Value) -> Value {
    let mut call = json!({
        "account_id": "ext:user-1", "provider": "sandbox", "method": "POST", "path": "echo/some/path",
    });
    let more = more.as_object().unwrap().clone();
    call.as_object_mut().unwrap().extend(more);
    call
}

#[tokio::test]
async fn any_request_can_be_described() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let client = &walk.partner.client;
    let call = echo(&json!({
        "path": "/echo/some/path?a=1", "query": {"b": [2, true], "c": "x y"},
        "headers": {"X-Custom": "kept", "Cookie": "mine=1"}, "body": {"text": "hello"},
    }));
    let accepted = client.post(CALLS, call).await;
    insta::assert_snapshot!(accepted.shown(), @r#"
    202 Accepted
    {
      "data": {
        "created_at": "2026-11-21T20:00:00.000Z",
        "job_id": "job_<id>",
        "poll_url": "http://127.0.0.1:8080/api/v1/jobs/job_<id>",
        "status": "processing"
      },
      "ok": true
    }
    "#);
    let done = walk.job(accepted.data()["job_id"].as_str().unwrap()).await;
    assert_eq!(done["action"], "proxy");
    let seen = done["result"]["body"].to_string();
    for part in [
        "a=1&b=2&b=true&c=x+y",
        "x-custom",
        "application/json",
        "/echo/some/path",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(!seen.contains("mine=1"), "{seen}");
    // Any bytes, as base64.
    let call = echo(&json!({"body": "AAEC/w==", "body_encoding": "base64"}));
    let accepted = client.with("prefer", "wait=60").post(CALLS, call).await;
    assert_eq!(accepted.status, 200, "{}", accepted.shown());
    assert_eq!(accepted.header("preference-applied"), "wait=60");
    let seen = accepted.data()["result"]["body"].to_string();
    assert!(seen.contains("application/octet-stream"), "{seen}");
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let client = &walk.partner.client;
    let (before, mut refused) = (walk.count(Counter::ApiCalls), Vec::new());
    for more in [
        json!({"provider": "nothing"}),
        json!({"service": "nothing"}),
        json!({"method": "GE T"}),
        json!({"method": "TRACE"}),
        json!({"path": "//evil.example/x"}),
        json!({"path": "/a/../../x"}),
        json!({"query": {"a": {}}}),
        json!({"headers": {"a b": "c"}}),
        json!({"headers": {"a": "c\r\nd: e"}}),
        json!({"headers": {"X-HTTP-Method-Override": "DELETE"}}),
        json!({"body": {}, "body_encoding": "text"}),
        json!({"body": "?", "body_encoding": "base64"}),
        json!({"callback_url": "http://app.example.com/hook"}),
        json!({"callback_url": "https://me:pw@app.example.com/hook"}),
        json!({"account_id": "ext:nobody"}),
        json!({"unknown": 1}),
    ] {
        let answer = client.post(CALLS, echo(&more)).await;
        let fields = &answer.json()["details"][0]["field"];
        refused.push(format!(
            "{} {} {fields}",
            answer.status.as_u16(),
            answer.code()
        ));
    }
    insta::assert_snapshot!(refused.join("\n"), @r#"
    404 NOT_FOUND null
    404 NOT_FOUND null
    400 INVALID_REQUEST "method"
    400 INVALID_REQUEST "method"
    400 INVALID_REQUEST null
    400 INVALID_REQUEST null
    400 INVALID_REQUEST "query.a"
    400 INVALID_REQUEST "headers.a b"
    400 INVALID_REQUEST "headers.a"
    400 INVALID_REQUEST "x-http-method-override"
    400 INVALID_REQUEST "body"
    400 INVALID_REQUEST "body"
    400 INVALID_REQUEST "callback_url"
    400 INVALID_REQUEST "callback_url"
    404 NOT_FOUND null
    400 INVALID_REQUEST "unknown"
    "#);
    assert_eq!(walk.count(Counter::ApiCalls), before);
}

#[tokio::test]
async fn a_wait_gives_the_outcome_or_the_job() {
    // Room for all of them at once: what is over the rate waits for the scheduler, which does not run here.
    let walk = Walk::with(&[("plans.free.calls_per_minute", "6000")]).await;
    walk.connected("user-1").await;
    let waiting = walk.calling("user-1").with("prefer", "wait=60");
    let done = waiting.get(PROFILE).await;
    assert_eq!(
        (done.status.as_u16(), &done.data()["sub"]),
        (200, &json!("user-1"))
    );
    assert_eq!(done.header("preference-applied"), "wait=60");
    assert!(done.header("x-call-id").starts_with("call_"));
    let raw = waiting
        .get("/api/v1/proxy/sandbox/api/echo?status=418")
        .await;
    assert_eq!(raw.status.as_u16(), 418);
    // A provider that does not answer in time: the job goes on.
    walk.fault(Target::Api, FaultKind::Hang);
    let later = walk
        .calling("user-1")
        .with("prefer", "wait=1")
        .get(PROFILE)
        .await;
    assert_eq!(later.status.as_u16(), 202, "{}", later.shown());
    walk.sandbox.clear_faults();
    let ended = walk.job(later.data()["job_id"].as_str().unwrap()).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    // A refusal keeps its reason.
    walk.fault(Target::Api, FaultKind::DropAfterActing);
    let lost = waiting
        .post("/api/v1/sandbox/messages", json!({"text": "x"}))
        .await;
    assert_eq!(lost.code(), "OUTCOME_UNKNOWN", "{}", lost.shown());
}

#[tokio::test]
async fn a_call_that_waits_for_its_slot_is_canceled_and_not_sent() {
    let walk = Walk::with(&[("plans.free.calls_per_minute", "1")]).await;
    walk.connected("user-1").await;
    walk.calling("user-1").get(PROFILE).await.data();
    let before = walk.count(Counter::ApiCalls);
    let client = &walk.partner.client;
    let accepted = client.post(CALLS, echo(&json!({}))).await.data();
    let path = format!("/api/v1/jobs/{}", accepted["job_id"].as_str().unwrap());
    let canceled = client.delete(&path).await;
    insta::assert_snapshot!(canceled.shown(), @r#"
    200 OK
    {
      "data": {
        "account_id": "<uuid>",
        "action": "proxy",
        "attempts": 0,
        "completed_at": "2026-11-21T20:00:00.000Z",
        "created_at": "2026-11-21T20:00:00.000Z",
        "id": "job_<id>",
        "kind": "provider_call",
        "provider": "sandbox",
        "service": "api",
        "status": "canceled"
      },
      "ok": true
    }
    "#);
    assert_eq!(client.delete(&path).await.status, 200);
    let seen = client.get(&path).await;
    assert_eq!(seen.data()["status"], "canceled");
    assert_eq!(seen.header("retry-after"), "");
    assert_eq!(walk.count(Counter::ApiCalls), before);
    // One that ended is not undone.
    let done = walk.calling("user-1").with("prefer", "respond-async");
    // The turn that the canceled one had is not given away; the next is free.
    walk.api.advance(std::time::Duration::from_secs(180));
    let done = done.get(PROFILE).await.data();
    let done = done["job_id"].as_str().unwrap();
    assert_eq!(walk.job(done).await["status"], "completed");
    let refused = client.delete(&format!("/api/v1/jobs/{done}")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (409, "CONFLICT".to_owned())
    );
}
