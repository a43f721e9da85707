//! One effect, one answer.

use axum::middleware::from_fn_with_state;
use http::StatusCode;
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::{
    extract::BodyLimit,
    layers,
    reply::Reply,
    testing::{Client, TestApi},
};

const KEYS: &str = "/api/v1/partner/keys";
const ACCOUNTS: &str = "/api/v1/accounts";

fn keyed(client: &Client, key: &str) -> Client {
    client.with("idempotency-key", key)
}

#[tokio::test]
async fn what_is_shown_once_is_shown_again() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let client = keyed(&acme.client, "k-1");
    let first = client.post(KEYS, json!({"name": "n"})).await;
    let again = client.post(KEYS, json!({"name": "n"})).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("content-type"), "application/json");
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(again.header("x-ratelimit-limit"), "1000");
    let listed = acme.client.get(KEYS).await.data();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_key_is_for_one_request_of_one_partner_on_one_route() {
    let api = TestApi::new().await;
    let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
    let body = json!({"external_id": "a"});
    let client = keyed(&acme.client, "k-1");
    let first = client.post(ACCOUNTS, body.clone()).await.data();
    let otherwise = client.post(ACCOUNTS, json!({"external_id": "b"})).await;
    insta::assert_snapshot!(otherwise.shown(), @r#"
    422 Unprocessable Entity
    {
      "error": "This Idempotency-Key was used with another request. Use a new key for a new request.",
      "error_code": "IDEMPOTENCY_MISMATCH",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    let query = client.post(&format!("{ACCOUNTS}?x=1"), body.clone()).await;
    assert_eq!(query.code(), "IDEMPOTENCY_MISMATCH");
    assert_eq!(client.post(KEYS, json!({})).await.status, StatusCode::OK);
    let theirs = keyed(&other.client, "k-1")
        .post(ACCOUNTS, body.clone())
        .await;
    assert_ne!(theirs.data()["id"], first["id"]);
    // A day later the key is forgotten.
    api.advance(KEPT);
    assert_eq!(client.post(ACCOUNTS, body).await.code(), "ALREADY_EXISTS");
}

#[tokio::test]
async fn a_test_key_is_not_shown_what_a_live_key_was_answered() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let made = acme.client.post(KEYS, json!({"mode": "test"})).await.data();
    let test = format!("Bearer {}", made["key"].as_str().unwrap());
    let testing = api.anyone().with("authorization", &test);
    let body = json!({"name": "n"});
    let live = keyed(&acme.client, "k-1").post(KEYS, body.clone()).await;
    assert_eq!(live.data()["mode"], "live");
    let refused = keyed(&testing, "k-1").post(KEYS, body).await;
    assert_eq!(refused.code(), "IDEMPOTENCY_MISMATCH");
}

#[tokio::test]
async fn a_hundred_at_once_have_one_effect() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let client = keyed(&acme.client, "k-1");
    let all = (0..100).map(|_| client.post(ACCOUNTS, json!({"external_id": "a"})));
    let mut statuses: Vec<_> = futures::future::join_all(all)
        .await
        .iter()
        .map(|a| a.status.as_u16())
        .collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert!(statuses == [200] || statuses == [200, 409], "{statuses:?}");
    assert_eq!(acme.client.get(ACCOUNTS).await.data()["total"], 1);
    let last = client.post(ACCOUNTS, json!({"external_id": "a"})).await;
    assert_eq!(last.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn a_refused_request_frees_its_key() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let client = keyed(&acme.client, "k-1");
    let wrong = client.post(ACCOUNTS, json!({"external_id": ""})).await;
    assert_eq!(wrong.code(), "INVALID_REQUEST");
    client
        .post(ACCOUNTS, json!({"external_id": "a"}))
        .await
        .data();
    for key in ["", " ", &"k".repeat(256)] {
        let answer = keyed(&acme.client, key)
            .post(ACCOUNTS, json!({"external_id": "b"}))
            .await;
        assert_eq!(
            answer.json()["details"][0]["field"],
            "idempotency-key",
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn one_that_runs_is_in_flight_and_one_that_died_is_taken_over() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let body = json!({"external_id": "a"});
    let (parts, ()) = http::Request::post(ACCOUNTS).body(()).unwrap().into_parts();
    // As a process left it that was killed in the middle.
    let hash = request_hash(&parts, &Bytes::from(body.to_string()));
    let (route, key) = (format!("POST {ACCOUNTS}"), "k-1".to_owned());
    let row = new_row(&api.api, acme.id, route, key, hash);
    let begun = api.api.ctx.store.begin_idempotent(&row).await;
    assert_eq!(begun.unwrap(), Begun::Ours);
    let client = keyed(&acme.client, "k-1");
    let running = client.post(ACCOUNTS, body.clone()).await;
    insta::assert_snapshot!(running.shown(), @r#"
    409 Conflict
    {
      "error": "The first request with this Idempotency-Key is still running. Ask again shortly.",
      "error_code": "IDEMPOTENCY_IN_FLIGHT",
      "ok": false,
      "request_id": "req_<id>"
    }
    "#);
    assert_eq!(running.header("retry-after"), "1");
    api.advance(LOCKED);
    client.post(ACCOUNTS, body).await.data();
}

#[tokio::test]
async fn a_client_that_goes_away_finds_the_answer_later() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let (entered, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&entered), Arc::clone(&gate));
    let slow = async move || {
        signals.0.notify_one();
        signals.1.notified().await;
        Reply(json!({"did": "it"}))
    };
    let router = axum::Router::new()
        .route("/slow", axum::routing::post(slow))
        .layer(from_fn_with_state(Arc::clone(&api.api), once))
        .layer(axum::Extension(Scope(acme.id)))
        .layer(axum::Extension(BodyLimit(1024)))
        .layer(from_fn_with_state(Arc::clone(&api.api), layers::frame));
    let client = keyed(&api.anyone().at(&router), "k-1");
    tokio::select! {
        biased;
        answer = client.post("/slow", json!({})) => panic!("{}", answer.shown()),
        // The client hangs up while the handler works.
        () = entered.notified() => {}
    }
    assert_eq!(
        client.post("/slow", json!({})).await.code(),
        "IDEMPOTENCY_IN_FLIGHT"
    );
    gate.notify_one();
    // What must not be cut is awaited by a stop.
    assert!(api.api.ctx.stopper.wait(Duration::from_secs(30)).await);
    let later = client.post("/slow", json!({})).await;
    assert_eq!(
        (later.header("idempotent-replayed"), &later.data()["did"]),
        ("true", &json!("it"))
    );
}

#[tokio::test]
async fn only_posts_and_only_with_a_valid_key() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let listed = keyed(&acme.client, "k-1").get(ACCOUNTS).await;
    assert_eq!(listed.header("idempotent-replayed"), "");
    let nobody = keyed(&api.anyone(), "k-1").post(ACCOUNTS, json!({})).await;
    assert_eq!(nobody.code(), "UNAUTHORIZED");
}

#[tokio::test]
async fn a_run_that_was_taken_over_does_not_overwrite_the_answer() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let (entered, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&entered), Arc::clone(&gate));
    let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    // The first run waits at the gate; the second goes straight through.
    let work = async move || {
        let run = runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        if run == 1 {
            signals.0.notify_one();
            signals.1.notified().await;
        }
        Reply(json!({"run": run}))
    };
    let router = axum::Router::new()
        .route("/work", axum::routing::post(work))
        .layer(from_fn_with_state(Arc::clone(&api.api), once))
        .layer(axum::Extension(Scope(acme.id)))
        .layer(axum::Extension(BodyLimit(1024)))
        .layer(from_fn_with_state(Arc::clone(&api.api), layers::frame));
    let client = keyed(&api.anyone().at(&router), "k-1");
    let slow = client.clone();
    let first = tokio::spawn(async move { slow.post("/work", json!({})).await.data() });
    entered.notified().await;
    api.advance(LOCKED);
    assert_eq!(client.post("/work", json!({})).await.data()["run"], 2);
    gate.notify_one();
    assert_eq!(first.await.unwrap()["run"], 1);
    let replayed = client.post("/work", json!({})).await;
    assert_eq!(replayed.header("idempotent-replayed"), "true");
    assert_eq!(replayed.data()["run"], 2);
}
