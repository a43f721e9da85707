//! The protected API.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use latchkey_sandbox::Counter;
use reqwest::Method;
use serde_json::json;

use crate::client::Peer;

#[tokio::test]
async fn tokens_open_the_api_and_nothing_else_does() {
    let peer = Peer::new().await;
    let tokens = peer.send(peer.exchange(&peer.code().await)).await.json();
    let access = tokens["access_token"].as_str().unwrap();
    let me = peer
        .send(peer.api(Method::GET, "/api/me", access))
        .await
        .json();
    assert_eq!(
        me,
        json!({"sub": "ada", "email": "ada@sandbox.example", "name": "Ada"})
    );

    let bare = peer.get("/api/me").await;
    assert_eq!(
        (bare.status.as_u16(), bare.header("www-authenticate")),
        (401, "Bearer realm=\"sandbox\"")
    );
    let refresh = tokens["refresh_token"].as_str().unwrap();
    for wrong in ["x", "", refresh] {
        let answer = peer
            .send(peer.api(Method::GET, "/api/messages", wrong))
            .await;
        assert_eq!(answer.status, 401);
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\"")
        );
    }
    peer.clock.advance(Duration::from_secs(3600));
    let late = peer.send(peer.api(Method::GET, "/api/me", access)).await;
    assert_eq!(late.json(), json!({"error": "invalid_token"}));
    assert_eq!(
        (peer.count(Counter::ApiCalls), peer.count(Counter::Api401)),
        (6, 5)
    );
    assert_eq!(peer.get("/api/none").await.status, 404);
}

#[tokio::test]
async fn messages_are_paged_read_and_written() {
    let peer = Peer::new().await;
    let (access, _) = peer.seeded();
    let get = async |path: &str| peer.send(peer.api(Method::GET, path, &access)).await;
    let post = async |text: &str, key: Option<&str>| {
        let body = json!({"text": text}).to_string();
        let request = peer.api(Method::POST, "/api/messages", &access).body(body);
        let request = request.header("content-type", "application/json");
        peer.send(match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
        .await
    };
    let first = get("/api/messages").await.json();
    assert_eq!(
        (
            first["messages"].as_array().unwrap().len(),
            &first["next_cursor"]
        ),
        (20, &json!("6"))
    );
    let rest = get("/api/messages?limit=100&cursor=6").await.json();
    assert_eq!(
        (
            rest["messages"].as_array().unwrap().len(),
            &rest["next_cursor"]
        ),
        (5, &json!(null))
    );

    let wrote = post("hello", Some("k1")).await;
    assert_eq!(
        (wrote.status.as_u16(), &wrote.json()["text"]),
        (201, &json!("hello"))
    );
    let again = post("hello", Some("k1")).await;
    assert_eq!((again.status.as_u16(), again.json()), (201, wrote.json()));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(post("other", Some("k1")).await.status, 422);
    assert_eq!(peer.count(Counter::ApiWrites), 1, "a key writes once");
    post("hello", None).await;
    assert_eq!(peer.count(Counter::ApiWrites), 2);

    let id = wrote.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        get(&format!("/api/messages/{id}")).await.json(),
        wrote.json()
    );
    let newest = get("/api/messages?limit=2").await.json();
    assert_eq!(newest["messages"][1], wrote.json());
    assert_eq!(get("/api/messages/none").await.status, 404);
    assert_eq!(get("/api/messages?limit=0").await.status, 400);
    assert_eq!(post(&"x".repeat(5000), None).await.status, 413);
    assert_eq!(peer.count(Counter::ApiWrites), 2);
}

#[tokio::test]
async fn the_echo_shows_what_arrived() {
    let peer = Peer::new().await;
    let (access, _) = peer.seeded();
    let body = vec![0_u8, 159, 146, 150];
    let request = peer
        .api(Method::PATCH, "/api/echo/a%2Fb/c?x=1&x=2&y", &access)
        .header("x-one", "1")
        .header("x-one", "2")
        .body(body.clone());
    let answer = peer.send(request).await;
    let echo = answer.json();
    assert_eq!(
        (&echo["method"], &echo["path"]),
        (&json!("PATCH"), &json!("/api/echo/a%2Fb/c"))
    );
    assert_eq!(echo["query"], "x=1&x=2&y");
    assert_eq!(echo["headers"]["x-one"], "1, 2");
    assert_eq!(echo["headers"].get("authorization"), None);
    assert_eq!(echo["authorization_sha256"].as_str().unwrap().len(), 16);
    assert_eq!(
        (&echo["body_bytes"], &echo["body_base64"]),
        (&json!(4), &json!(STANDARD.encode(body)))
    );
    assert!(!answer.text().contains(&access));
    assert!(answer.header("set-cookie").starts_with("sandbox_echo="));
    assert_eq!(peer.count(Counter::ApiWrites), 1);

    let other = peer
        .send(peer.api(Method::GET, "/api/echo", &access))
        .await
        .json();
    assert_eq!(other["authorization_sha256"], echo["authorization_sha256"]);
    assert_eq!(peer.count(Counter::ApiWrites), 1, "GET writes nothing");
}

#[tokio::test]
async fn the_echo_makes_answers_of_any_kind() {
    let peer = Peer::new().await;
    let (access, _) = peer.seeded();
    let get = async |query: &str| {
        let path = format!("/api/echo/x?{query}");
        peer.send(peer.api(Method::GET, &path, &access)).await
    };
    let png = get("raw=1&bytes=600&content_type=image/png&status=206").await;
    assert_eq!(
        (png.status.as_u16(), png.header("content-type")),
        (206, "image/png")
    );
    assert_eq!(png.header("content-length"), "600");
    let sound = png
        .body
        .iter()
        .enumerate()
        .all(|(i, b)| usize::from(*b) == i % 251);
    assert!(sound && png.body.len() == 600);
    let moved = get("status=302&location=https://evil.example/").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (302, "https://evil.example/")
    );
    assert_eq!(get("raw=1&bytes=100000000").await.status, 400);
    assert_eq!(get("status=99").await.status, 400);
    let large = peer
        .api(Method::PUT, "/api/echo/up", &access)
        .body(vec![7; 3 << 20]);
    let large = peer.send(large).await.json();
    assert_eq!(
        (&large["body_bytes"], large.get("body_base64")),
        (&json!(3 << 20), None)
    );
}

#[tokio::test]
async fn latency_comes_after_the_act() {
    let peer = Peer::new().await;
    let (access, _) = peer.seeded();
    peer.sandbox.change(|s| s.api_latency_ms = 60_000).unwrap();
    let write = peer
        .api(Method::POST, "/api/messages", &access)
        .header("content-type", "application/json")
        .body(r#"{"text":"late"}"#);
    tokio::select! {
        answer = peer.send(write) => panic!("answered early: {answer:?}"),
        () = peer.reach(Counter::ApiWrites, 1) => {}
    }
}
