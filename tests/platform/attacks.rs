//! The published attacks on this kind of product, played against the real thing (`reliability.md` A1–A5).

use std::collections::HashMap;

use latchkey_tests::{Browser, Partner, Sandbox, Server, ServerOptions};
use serde_json::json;

async fn platform() -> (Sandbox, Server, Partner, String) {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    let config = server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    (sandbox, server, partner, config)
}

fn query(url: &url::Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// A session opened in one browser and brought home by another: refused, no token request.
#[tokio::test]
async fn a_callback_in_another_browser_is_refused() {
    let (sandbox, server, partner, _) = platform().await;
    let account = partner.account("attacker").await;
    let session = partner.begin_connect(&account).await;
    let link = session["connect_url"].as_str().unwrap();
    let callback = format!("{}/api/v1/connect/callback/", server.url);
    let home = Browser::new().until(link, "victim", &callback).await;
    let answer = Browser::new().request("GET", &home, None).await;
    assert!(
        matches!(answer.status, 400 | 403),
        "{}: {}",
        answer.status,
        answer.text()
    );
    assert_eq!(answer.header("location"), "");
    assert_eq!(sandbox.count("token_requests").await, 0);
}

/// A state works once, and an unknown one shows our own page and leads nowhere.
#[tokio::test]
async fn a_state_works_once() {
    let (sandbox, server, partner, config) = platform().await;
    let account = partner.account("user-1").await;
    let session = partner.begin_connect(&account).await;
    let mut browser = Browser::new();
    let callback = format!("{}/api/v1/connect/callback/", server.url);
    let home = browser
        .until(
            session["connect_url"].as_str().unwrap(),
            "user-1",
            &callback,
        )
        .await;
    let first = browser.request("GET", &home, None).await;
    assert_eq!(first.status, 303, "{}", first.text());
    let second = browser.request("GET", &home, None).await;
    assert!(
        (400..500).contains(&second.status),
        "{}: {}",
        second.status,
        second.text()
    );
    assert_eq!(sandbox.count("token_requests").await, 1);
    let unknown: url::Url = format!("{callback}{config}?code=x&state=never-made")
        .parse()
        .unwrap();
    let answer = browser.request("GET", &unknown, None).await;
    assert!((400..500).contains(&answer.status) && answer.header("location").is_empty());
    assert!(answer.header("content-type").starts_with("text/html"));
}

/// Mix-up: the state of one auth config at the callback of another, and a wrong or missing issuer.
#[tokio::test]
async fn a_mixed_up_callback_never_sends_the_code() {
    let (sandbox, server, partner, config) = platform().await;
    let other = server.sandbox_config(&sandbox).await;
    let account = partner.account("user-1").await;
    let callback = format!("{}/api/v1/connect/callback/", server.url);
    let session = partner.begin_connect(&account).await;
    let mut browser = Browser::new();
    let home = browser
        .until(
            session["connect_url"].as_str().unwrap(),
            "user-1",
            &callback,
        )
        .await;
    let (from, to) = if home.path().ends_with(&config) {
        (&config, &other)
    } else {
        (&other, &config)
    };
    let mixed: url::Url = home.as_str().replace(from.as_str(), to).parse().unwrap();
    let answer = browser.request("GET", &mixed, None).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    for iss in ["wrong", "omit"] {
        sandbox.set(json!({ "iss": iss })).await;
        let session = partner.begin_connect(&account).await;
        let landed = Browser::new()
            .consent(session["connect_url"].as_str().unwrap(), "user-1")
            .await;
        assert_eq!(query(&landed)["status"], "error", "{iss}: {landed}");
    }
    assert_eq!(sandbox.count("token_requests").await, 0);
}

/// With confirmation, the code is exchanged only when the partner's backend names the right user; naming
/// another ends the session, because somebody's consent was brought into a stranger's login.
#[tokio::test]
async fn only_the_right_user_completes_a_confirmed_session() {
    let (sandbox, _server, partner, _) = platform().await;
    let account = partner.account("user-1").await;
    let body = json!({
        "provider": "sandbox", "redirect_url": Partner::REDIRECT, "confirmation": "partner",
    });
    for (external_id, status) in [("user-2", 403), ("user-1", 200)] {
        let path = format!("/accounts/{account}/connect");
        let session = partner.send("POST", &path, Some(body.clone())).await.data();
        let link = session["connect_url"].as_str().unwrap();
        let landed = query(&Browser::new().consent(link, "victim").await);
        assert_eq!(landed["status"], "confirm");
        let complete = format!("/connect-sessions/{}/complete", landed["session_id"]);
        let guessed = json!({ "completion_code": "x".repeat(43), "external_id": external_id });
        assert_eq!(
            partner.send("POST", &complete, Some(guessed)).await.status,
            403
        );
        assert_eq!(sandbox.count("token_requests").await, 0);
        let code = &landed["completion_code"];
        let named = json!({ "completion_code": code, "external_id": external_id });
        let answer = partner.send("POST", &complete, Some(named.clone())).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let again = partner.send("POST", &complete, Some(named)).await;
        assert!(
            again.status >= 400,
            "a completion works once: {}",
            again.text()
        );
    }
    assert_eq!(sandbox.count("token_requests").await, 1);
}

/// A redirect URL off the list is refused before anything is made.
#[tokio::test]
async fn redirect_urls_off_the_list_are_refused() {
    let (_sandbox, _server, partner, _) = platform().await;
    let account = partner.account("user-1").await;
    let path = format!("/accounts/{account}/connect");
    for url in [
        "http://127.0.0.1:9/landed/",
        "http://127.0.0.1:9/landed?x=1",
        "http://127.0.0.1:9/landed#x",
        "http://user@127.0.0.1:9/landed",
        "http://127.0.0.1:9\\@evil.example/landed",
        "https://evil.example/landed",
        "//evil.example",
        "javascript:alert(1)",
        "",
        "http://127.0.0.1.evil.example/landed",
        "http://127.0.0.1:9/LANDED",
        "http://127.0.0.1:9/landed%2f..",
        "http://localhost:9/landed",
    ] {
        let body = json!({ "provider": "sandbox", "redirect_url": url });
        let answer = partner.send("POST", &path, Some(body)).await;
        assert_eq!(answer.error(400), "INVALID_REQUEST", "{url}");
    }
    // Loopback: any port (RFC 8252 §7.3).
    let body = json!({ "provider": "sandbox", "redirect_url": "http://127.0.0.1:4711/landed" });
    partner.send("POST", &path, Some(body)).await.data();
}

/// Another partner's ids answer exactly as ids that never were.
#[tokio::test]
async fn another_partners_ids_are_no_ids() {
    let (_sandbox, server, partner, _) = platform().await;
    let account = partner.connected("user-1").await;
    let session = partner.begin_connect(&account).await["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let accepted = partner
        .call(
            "GET",
            "/sandbox/profile",
            "user-1",
            &[("prefer", "respond-async")],
            None,
        )
        .await;
    let job = accepted.data()["job_id"].as_str().unwrap().to_owned();
    let other = server.partner("test").await;
    let never = "0192e4c1-0000-7000-8000-000000000000";
    for (method, path) in [
        ("GET", format!("/accounts/{account}")),
        ("PATCH", format!("/accounts/{account}")),
        ("DELETE", format!("/accounts/{account}")),
        ("POST", format!("/accounts/{account}/connect")),
        ("GET", format!("/accounts/{account}/connect/{session}")),
        ("GET", format!("/accounts/{account}/integrations")),
        ("PATCH", format!("/accounts/{account}/integrations/sandbox")),
        (
            "POST",
            format!("/accounts/{account}/integrations/sandbox/refresh"),
        ),
        (
            "DELETE",
            format!("/accounts/{account}/integrations/sandbox"),
        ),
        ("GET", format!("/jobs/{job}")),
    ] {
        let body = match method {
            "POST" if path.ends_with("connect") => {
                Some(json!({ "provider": "sandbox", "redirect_url": Partner::REDIRECT }))
            }
            "PATCH" if path.ends_with("sandbox") => Some(json!({ "enabled_services": {} })),
            "PATCH" => Some(json!({ "display_name": "x" })),
            _ => None,
        };
        let theirs = other.send(method, &path, body.clone()).await;
        let missing = path
            .replace(&account, never)
            .replace(&job, "job_0192e4c1000070008000000000000000");
        let none = other.send(method, &missing, body).await;
        assert_eq!(theirs.error(404), "NOT_FOUND", "{method} {path}");
        let (mut a, mut b) = (theirs.json(), none.json());
        for body in [&mut a, &mut b] {
            body["request_id"] = json!(null);
        }
        assert_eq!(a, b, "{method} {path}");
    }
    let called = other
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(called.status, 404);
    assert_eq!(partner.integration(&account).await["status"], "active");
}
