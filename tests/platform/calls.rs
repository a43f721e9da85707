//! Calls: raw and named, limits, receipts, bills, idempotency.

use futures::future::join_all;
use latchkey_tests::{Sandbox, Server, ServerOptions, until};
use serde_json::json;

/// The raw proxy passes any method, content type and binary body, and keeps our headers to itself.
#[tokio::test]
async fn the_raw_proxy_passes_bodies_untouched() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let mut headers = partner.auth();
    headers.push(("x-account-id", "user-1".into()));
    headers.push(("content-type", "application/octet-stream".into()));
    headers.push(("cookie", "mine=1".into()));
    headers.push(("x-custom", "kept".into()));
    let url = partner.url("/proxy/sandbox/api/echo/some/path?a=1&a=2");
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let echoed = server.http.send("PUT", &url, &headers, Some(body)).await;
    assert_eq!(echoed.status, 200, "{}", echoed.text());
    let seen = echoed.json();
    assert_eq!(seen["method"], "PUT");
    assert_eq!(
        seen["body_bytes"]
            .as_u64()
            .or(seen["body"]["bytes"].as_u64()),
        Some(100_000),
        "{seen}"
    );
    let text = seen["headers"].to_string().to_lowercase();
    assert!(text.contains("x-custom"), "{text}");
    assert!(
        !text.contains("x-account-id") && !text.contains("mine=1"),
        "{text}"
    );
    assert!(!text.contains(&partner.key), "our key left us: {text}");

    let url = partner.url("/proxy/sandbox/api/echo/x?raw=1&bytes=70000&content_type=image/png");
    let picture = server.http.send("GET", &url, &headers, None).await;
    assert_eq!((picture.status, picture.body.len()), (200, 70_000));
    assert_eq!(picture.header("content-type"), "image/png");
}

/// Bodies of 10 MiB go out and answers of 32 MiB come back whole, byte for byte; what is larger is refused by
/// name, never cut.
#[tokio::test]
async fn bodies_at_the_limits_pass_whole_and_larger_ones_are_refused() {
    const OUT: usize = 10 << 20;
    const BACK: usize = 32 << 20;
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let mut headers = partner.auth();
    headers.push(("x-account-id", "user-1".into()));
    headers.push(("content-type", "application/octet-stream".into()));
    let url = partner.url("/proxy/sandbox/api/echo/large");
    let send = |bytes: usize| {
        let body: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        server.http.send("PUT", &url, &headers, Some(body))
    };
    let echoed = send(OUT).await;
    assert_eq!(echoed.status, 200, "{}", echoed.text());
    assert_eq!(echoed.json()["body_bytes"], OUT);
    let too_large: Vec<u8> = vec![0; OUT + 1];
    let refused = until("an answer to a body that is too large", || async {
        // It is refused before it has arrived: the connection may end while the rest is still being sent.
        let body = Some(too_large.clone());
        server.http.try_send("PUT", &url, &headers, body).await.ok()
    });
    assert_eq!(refused.await.error(413), "PAYLOAD_TOO_LARGE");
    let seen = sandbox.count("api_calls").await;
    let fetch = |bytes: usize| {
        let url = format!("{url}?raw=1&bytes={bytes}");
        let (http, headers) = (&server.http, &headers);
        async move { http.send("GET", &url, headers, None).await }
    };
    let fetched = fetch(BACK).await;
    assert_eq!((fetched.status, fetched.body.len()), (200, BACK));
    let made = |(i, byte): (usize, &u8)| usize::from(*byte) == i % 251;
    assert!(fetched.body.iter().enumerate().all(made), "bytes changed");
    assert_eq!(fetch(BACK + 1).await.error(413), "PAYLOAD_TOO_LARGE");
    assert_eq!(sandbox.count("api_calls").await, seen + 2);
}

/// Over the plan's minute: 429 with Retry-After and the headers; asynchronous calls are accepted.
#[tokio::test]
async fn the_minute_limit_says_when_to_come_back() {
    let sandbox = Sandbox::start(&[]).await;
    let options = ServerOptions::default().with("PLANS__SMALL__CALLS_PER_MINUTE", 5);
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("small").await;
    partner.connected("user-1").await;
    let before = sandbox.count("api_calls").await;
    let answers =
        join_all((0..8).map(|_| partner.call("GET", "/sandbox/profile", "user-1", &[], None)))
            .await;
    let (passed, held): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!((passed.len(), held.len()), (5, 3));
    for answer in held {
        assert_eq!(answer.error(429), "RATE_LIMITED");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(answer.header("x-ratelimit-minute-limit"), "5");
    }
    assert_eq!(
        sandbox.count("api_calls").await,
        before + 5,
        "what was held back did not go out"
    );
    let accepted = partner
        .call(
            "GET",
            "/sandbox/profile",
            "user-1",
            &[("prefer", "respond-async")],
            None,
        )
        .await;
    assert_eq!(accepted.status, 202);
}

/// Every call has one receipt, the statement is the sum of them, and overage shows.
#[tokio::test]
async fn receipts_make_the_bill() {
    let sandbox = Sandbox::start(&[]).await;
    let options = ServerOptions::default()
        .with("PLANS__TINY__CALLS_PER_MINUTE", 1000)
        .with("PLANS__TINY__INCLUDED_CALLS_PER_MONTH", 10)
        .with(
            "PLANS__TINY__OVERAGE",
            r#"{unit_calls=1,unit_price_minor=7,currency="USD"}"#,
        );
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("tiny").await;
    partner.connected("user-1").await;
    for n in 0..14 {
        let body = (n % 2 == 0).then(|| json!({ "text": "hello" }));
        let method = if body.is_some() { "POST" } else { "GET" };
        partner
            .call(method, "/sandbox/messages", "user-1", &[], body)
            .await
            .data();
    }
    let receipts = partner.send("GET", "/calls?limit=100", None).await.data();
    assert_eq!(
        receipts["calls"].as_array().unwrap().len(),
        14,
        "{receipts}"
    );
    let statement = partner.send("GET", "/usage/statement", None).await.data();
    let text = statement.to_string();
    assert_eq!(statement["used"], 14, "{text}");
    assert_eq!(statement["included"], 10, "{text}");
    assert_eq!(
        statement["amount_minor"]
            .as_u64()
            .or(statement["amount"].as_u64()),
        Some(28),
        "{text}"
    );
    let usage = partner.send("GET", "/me", None).await.data();
    assert_eq!(usage["usage"]["current"], 14, "{usage}");
}

/// A hundred times the same key and body at once: one effect, the same answer.
#[tokio::test]
async fn one_idempotency_key_has_one_effect() {
    let server = Server::start(ServerOptions::default()).await;
    let partner = server.partner("test").await;
    let mut headers = partner.auth();
    headers.push(("idempotency-key", "the-same".into()));
    let body = json!({ "external_id": "user-1" });
    let url = partner.url("/accounts");
    let answers = join_all((0..100).map(|_| server.http.json("POST", &url, &headers, &body))).await;
    let mut made = std::collections::BTreeSet::new();
    for answer in answers {
        match answer.status {
            200 => assert!(made.insert(answer.data()["id"].to_string()) || made.len() == 1),
            409 => assert_eq!(answer.error(409), "IDEMPOTENCY_IN_FLIGHT"),
            _ => panic!("{}", answer.text()),
        }
    }
    assert_eq!(made.len(), 1);
    let again = server.http.json("POST", &url, &headers, &body).await;
    assert!(made.contains(&again.data()["id"].to_string()));
    let other = json!({ "external_id": "user-2" });
    assert_eq!(
        server
            .http
            .json("POST", &url, &headers, &other)
            .await
            .error(422),
        "IDEMPOTENCY_MISMATCH"
    );
    let list = partner.send("GET", "/accounts", None).await.data();
    assert_eq!(list["total"], 1);
}
