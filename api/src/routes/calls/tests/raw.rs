//! Raw calls: what goes through untouched, and what cannot leave the service (`reliability.md` A16).

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Method;
use latchkey_sandbox::{Counter, FaultKind, Target};

use crate::walking::Walk;

const ECHO: &str = "/api/v1/proxy/sandbox/api/echo";

#[tokio::test]
async fn a_request_goes_through_without_what_is_ours() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk
        .calling("user-1")
        .with("content-type", "application/x-odd")
        .with("cookie", "a=b")
        .with("x-custom", "kept")
        .with("x-forwarded-for", "10.0.0.1")
        .with("prefer", "handling=strict");
    let body = [0, 255, 10, 13, 128];
    let path = format!("{ECHO}/a%20b/c?x=1&x=2&y=%26");
    let answer = calling.send(Method::PUT, &path, body.to_vec()).await;
    assert_eq!(answer.status, 200, "{}", answer.shown());
    let seen = answer.json();
    assert_eq!(
        (seen["method"].as_str(), seen["query"].as_str()),
        (Some("PUT"), Some("x=1&x=2&y=%26"))
    );
    assert!(
        seen["path"].as_str().unwrap().ends_with("/a%20b/c"),
        "{seen}"
    );
    assert_eq!(seen["body_base64"], BASE64_STANDARD.encode(body));
    let mut names: Vec<_> = seen["headers"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    names.retain(|name| !matches!(name.as_str(), "host" | "content-length" | "accept"));
    assert_eq!(names, ["content-type", "user-agent", "x-custom"]);
    assert_eq!(seen["headers"]["user-agent"], "latchkey/0.1.0");
    assert!(answer.header("x-call-id").starts_with("call_"));
}

#[tokio::test]
async fn what_a_server_could_take_for_another_request_is_refused() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    let traced = calling.send(Method::TRACE, ECHO, Vec::new()).await;
    assert_eq!(traced.code(), "METHOD_NOT_ALLOWED");
    for name in ["x-http-method-override", "x-original-url"] {
        let refused = calling.with(name, "DELETE").get(ECHO).await;
        assert_eq!(refused.json()["details"][0]["field"], name);
    }
}

#[tokio::test]
async fn status_headers_and_bytes_come_back_as_they_are() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    let path = format!("{ECHO}?raw=1&bytes=1000&content_type=image/png&status=203");
    let answer = calling.get(&path).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (203, "image/png")
    );
    let expected: Vec<u8> = (0..1000).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert_eq!(answer.body, expected);
    // A redirect is the provider's word; nobody follows it.
    let path = format!("{ECHO}?status=302&location=http://127.0.0.1:1/");
    let answer = calling.get(&path).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (302, "http://127.0.0.1:1/")
    );
    let missing = calling.get("/api/v1/proxy/sandbox/api/nope").await;
    assert_eq!(missing.status, 404);
    assert!(missing.header("x-call-id").starts_with("call_"));
    walk.fault(Target::Api, FaultKind::Html);
    let page = calling.get(ECHO).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn no_path_leaves_the_service() {
    let walk = Walk::new().await;
    walk.connected("user-1").await;
    let calling = walk.calling("user-1");
    let before = walk.count(Counter::ApiCalls);
    for path in [
        "../sandbox/counters",
        "x/../../sandbox/counters",
        "%2e%2e/sandbox/counters",
        "%2E%2E%2Fsandbox/counters",
        "%252e%252e/sandbox/counters",
        "..%5csandbox",
        "%5c%5cevil.example/",
        "/evil.example/",
        "//evil.example/",
        "a//b",
        "a%0d%0aHost:evil",
        "a%00b",
    ] {
        let answer = calling
            .get(&format!("/api/v1/proxy/sandbox/api/{path}"))
            .await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.shown());
        assert_eq!(answer.code(), "INVALID_REQUEST", "{path}");
    }
    for path in [
        "/api/v1/proxy/sandbox/nope/x",
        "/api/v1/proxy/nope/api/x",
        "/api/v1/proxy/sandbox",
    ] {
        assert_eq!(calling.get(path).await.code(), "NOT_FOUND", "{path}");
    }
    assert_eq!(walk.count(Counter::ApiCalls), before);
}
