//! Calls that nobody waits for, from acceptance to their result.

use std::time::Duration;

use latchkey_domain::{JobId, RequestId, SessionId, states::JobState};
use latchkey_jobs::{Job, Urgency, kinds::ExchangeCode};
use latchkey_sandbox::Counter;
use serde_json::{Value, json};

use crate::{
    durable,
    testing::{TestApi, TestPartner, hide_ids},
    walking::Walk,
};

const PROFILE: &str = "/api/v1/sandbox/profile";

/// Has so many calls accepted that nobody runs; their jobs.
async fn accept(api: &TestApi, partner: &TestPartner, count: usize) -> Vec<String> {
    let account = partner.account("user-1").await;
    api.connection(partner, &account).await;
    let calling = partner
        .client
        .with("x-account-id", "user-1")
        .with("prefer", "respond-async");
    let mut jobs = Vec::new();
    for _ in 0..count {
        let accepted = calling.get(PROFILE).await.data();
        jobs.push(accepted["job_id"].as_str().unwrap().to_owned());
    }
    jobs
}

#[tokio::test]
async fn a_call_is_accepted_and_done_later() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk
        .calling("user-1")
        .with("prefer", "handling=lenient, Respond-Async; wait=5");
    let accepted = calling.get(PROFILE).await;
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
    let id = accepted.data()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.header("location"), format!("/api/v1/jobs/{id}"));
    assert_eq!(accepted.header("preference-applied"), "respond-async");
    let mut done = walk.job(&id).await;
    done["result"]["headers"].take();
    insta::assert_snapshot!(hide_ids(&serde_json::to_string_pretty(&done).unwrap()), @r#"
    {
      "account_id": "<uuid>",
      "action": "get_profile",
      "attempts": 1,
      "completed_at": "2026-11-21T20:00:00.000Z",
      "created_at": "2026-11-21T20:00:00.000Z",
      "id": "job_<id>",
      "kind": "provider_call",
      "provider": "sandbox",
      "result": {
        "body": {
          "email": "user-1@sandbox.example",
          "name": "User-1",
          "sub": "user-1"
        },
        "body_encoding": "json",
        "call_id": "call_<id>",
        "headers": null,
        "status": 200
      },
      "service": "api",
      "started_at": "2026-11-21T20:00:00.000Z",
      "status": "completed"
    }
    "#);
    // One client reads the fields beside `data`.
    let whole = walk.partner.client.get(&format!("/api/v1/jobs/{id}")).await;
    let (json, data) = (whole.json(), whole.data());
    assert_eq!(
        (&json["id"], &json["result"]),
        (&data["id"], &data["result"])
    );
    assert_eq!(whole.header("retry-after"), "");
}

#[tokio::test]
async fn a_raw_call_keeps_its_answer_too() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1").with("prefer", "respond-async");
    let mut bodies = Vec::new();
    for query in [
        "raw=1&bytes=3&content_type=image/png&status=201",
        "raw=1&bytes=255",
        "status=404",
    ] {
        let path = format!("/api/v1/proxy/sandbox/api/echo?{query}");
        let accepted = calling.get(&path).await.data();
        let done = walk.job(accepted["job_id"].as_str().unwrap()).await;
        let result = &done["result"];
        bodies.push(format!(
            "{} {} {} {}",
            done["status"], done["action"], result["status"], result["body_encoding"]
        ));
    }
    insta::assert_snapshot!(bodies.join("\n"), @r#"
    "completed" "proxy" 201 "text"
    "completed" "proxy" 200 "base64"
    "completed" "proxy" 404 "json"
    "#);
}

#[tokio::test]
async fn jobs_are_listed_page_by_page() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    accept(&api, &acme, 3).await;
    let list = |query: &str| {
        let (client, path) = (acme.client.clone(), format!("/api/v1/jobs?{query}"));
        async move { client.get(&path).await }
    };
    let first = list("limit=2").await;
    let data = first.data();
    assert_eq!(
        (&data["total"], data["jobs"].as_array().unwrap().len()),
        (&json!(3), 2)
    );
    assert_eq!(first.json()["jobs"], data["jobs"]);
    let cursor = data["next_cursor"].as_str().unwrap();
    let rest = list(&format!("limit=2&cursor={cursor}")).await.data();
    assert_eq!(
        (rest["jobs"].as_array().unwrap().len(), &rest["next_cursor"]),
        (1, &Value::Null)
    );
    insta::assert_snapshot!(hide_ids(&serde_json::to_string_pretty(&rest["jobs"][0]).unwrap()), @r#"
    {
      "account_id": "<uuid>",
      "action": "get_profile",
      "attempts": 0,
      "created_at": "2026-11-21T20:00:00.000Z",
      "id": "job_<id>",
      "kind": "provider_call",
      "provider": "sandbox",
      "service": "api",
      "status": "processing"
    }
    "#);
}

#[tokio::test]
async fn jobs_are_found_by_what_and_where_they_are() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    accept(&api, &acme, 3).await;
    let list = |query: &str| {
        let (client, path) = (acme.client.clone(), format!("/api/v1/jobs?{query}"));
        async move { client.get(&path).await }
    };
    for (query, total) in [
        ("status=processing", 3),
        ("status=PENDING", 3),
        ("status=completed", 0),
        ("provider=sandbox", 3),
        ("provider=google", 0),
        ("service=api", 3),
    ] {
        assert_eq!(list(query).await.data()["total"], total, "{query}");
    }
    let mut said = Vec::new();
    for query in [
        "status=done",
        "limit=0",
        "limit=101",
        "cursor=x",
        "state=completed",
    ] {
        let refused = list(query).await;
        said.push(refused.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    INVALID_REQUEST status must be processing, completed, failed or canceled
    INVALID_REQUEST limit must be 1 to 100
    INVALID_REQUEST limit must be 1 to 100
    INVALID_REQUEST cursor: must be next_cursor of the page before
    INVALID_REQUEST state: unknown field `state`, expected one of `status`, `provider`, `service`, `limit`, `cursor`
    "#);
}

#[tokio::test]
async fn what_a_partner_did_not_ask_for_is_not_shown() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let kind = ExchangeCode {
        session: SessionId::from_u128(1),
    };
    let hidden = durable::row(&api.api, acme.id, RequestId::from_u128(1), &kind).unwrap();
    let path = format!("/api/v1/jobs/{}", hidden.id);
    api.api.ctx.store.insert_job(hidden).await.unwrap();
    assert_eq!(acme.client.get(&path).await.code(), "NOT_FOUND");
    assert_eq!(acme.client.get("/api/v1/jobs").await.data()["total"], 0);
    let shown = accept(&api, &acme, 1).await;
    let seen = acme.client.get(&format!("/api/v1/jobs/{}", shown[0])).await;
    assert_eq!(seen.header("retry-after"), "1");
}

#[tokio::test]
async fn a_full_backlog_takes_no_more() {
    let api = TestApi::with(&[("calls.backlog_max", "1")]).await;
    let acme = api.partner("Acme").await;
    let account = acme.account("user-1").await;
    api.connection(&acme, &account).await;
    let calling = acme
        .client
        .with("x-account-id", "user-1")
        .with("prefer", "respond-async");
    assert_eq!(calling.get(PROFILE).await.status, 202);
    api.advance(Duration::from_secs(3));
    insta::assert_snapshot!(calling.get(PROFILE).await.shown(), @r#"
    429 Too Many Requests
    {
      "error": "1 of your jobs wait, which is the most. Wait for some to end.",
      "error_code": "RATE_LIMITED",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
}

#[tokio::test]
async fn beyond_the_partners_rate_a_call_is_parked() {
    let api = TestApi::with(&[("plans.free.calls_per_minute", "1")]).await;
    let acme = api.partner("Acme").await;
    let account = acme.account("user-1").await;
    api.connection(&acme, &account).await;
    let calling = acme
        .client
        .with("x-account-id", "user-1")
        .with("prefer", "respond-async");
    let row = async |accepted: Value| {
        let id = accepted["job_id"].as_str().unwrap().parse().unwrap();
        api.api
            .ctx
            .store
            .get_job(acme.id, id)
            .await
            .unwrap()
            .unwrap()
    };
    let pushed = row(calling.get(PROFILE).await.data()).await;
    assert!(pushed.dispatched_at.is_some() && pushed.urgency == "background");
    let plan = api.api.ctx.config.plan("free").unwrap().clone();
    let ctx = &api.api.ctx;
    let permit = ctx.limits.take_permit(acme.id, &plan, ctx.now()).await;
    assert!(permit.allowed);
    let parked = row(calling.get(PROFILE).await.data()).await;
    assert_eq!(
        (parked.dispatched_at, parked.state),
        (None, JobState::Queued)
    );
    assert!(parked.wake_at.unwrap() > api.api.ctx.now());
}

#[tokio::test]
async fn what_a_full_queue_does_not_take_is_left_to_the_scheduler_at_once() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let ctx = &api.api.ctx;
    let session = SessionId::new(ctx.now(), &*ctx.entropy);
    let filling = || Job {
        urgency: Urgency::Background,
        ..Job::new(
            JobId::new(ctx.now(), &*ctx.entropy),
            acme.id,
            &ExchangeCode { session },
            ctx.now(),
        )
        .unwrap()
    };
    while ctx.queue.push(filling()).await.is_ok() {}
    // The first is refused by the queue, the second is not offered to it.
    for id in accept(&api, &acme, 2).await {
        let row = ctx.store.get_job(acme.id, id.parse().unwrap()).await;
        let row = row.unwrap().unwrap();
        assert_eq!((row.dispatched_at, row.state), (None, JobState::Queued));
        assert!(row.wake_at.unwrap() <= ctx.now());
    }
    let ready = ctx.store.undispatched_jobs("background", ctx.now(), 10);
    assert_eq!(ready.await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_same_key_is_accepted_once() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk
        .calling("user-1")
        .with("prefer", "respond-async")
        .with("idempotency-key", "k");
    let body = json!({"text": "hello"});
    let first = calling
        .post("/api/v1/sandbox/messages", body.clone())
        .await
        .data();
    let again = calling.post("/api/v1/sandbox/messages", body).await.data();
    assert_eq!(first, again);
    assert_eq!(
        walk.job(first["job_id"].as_str().unwrap()).await["status"],
        "completed"
    );
    assert_eq!(walk.count(Counter::ApiWrites), 1);
}
