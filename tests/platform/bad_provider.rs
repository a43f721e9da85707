//! Providers that hang, cut, answer garbage or too much: a clear error, nothing lost, nothing repeated.

use latchkey_tests::{Browser, Sandbox, Server, ServerOptions};
use serde_json::{Value, json};

/// What a partner is told for each way a provider's API can fail; the grant stays as it was.
#[tokio::test]
async fn each_failure_of_an_api_has_its_code() {
    let sandbox = Sandbox::start(&[]).await;
    let options = ServerOptions::default()
        .with("CALLS__TIMEOUT_MS", 1000)
        .with("HTTP__CALL_ANSWER_MAX_BYTES", 1_000_000);
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    let get = || partner.call("GET", "/sandbox/profile", "user-1", &[], None);

    sandbox
        .fault("api", json!({ "fail": { "status": 500 } }), 1)
        .await;
    assert_eq!(get().await.error(502), "PROVIDER_ERROR");
    sandbox
        .fault("api", json!({ "big": { "bytes": 10_485_760 } }), 1)
        .await;
    assert_eq!(get().await.error(413), "PAYLOAD_TOO_LARGE");
    sandbox.fault("api", json!("html"), 1).await;
    assert_eq!(get().await.error(502), "PROVIDER_ERROR");
    sandbox.fault("api", json!("hang"), 1).await;
    assert_eq!(get().await.error(504), "PROVIDER_TIMEOUT");
    // Its client is gone before it goes on, or it would meet the next fault.
    sandbox.wait("abandoned", 1).await;
    sandbox.clear_faults().await;
    // An unsafe request whose answer is lost is never repeated.
    let before = sandbox.count("api_writes").await;
    sandbox.fault("api", json!("drop_after_acting"), 1).await;
    let body = json!({ "text": "once" });
    let lost = partner
        .call("POST", "/sandbox/messages", "user-1", &[], Some(body))
        .await;
    assert_eq!(lost.error(504), "OUTCOME_UNKNOWN");
    assert_eq!(sandbox.count("api_writes").await, before + 1);
    assert_eq!(partner.integration(&account).await["status"], "active");
    get().await.data();
    // What a provider says of its limits is heeded: the next call is not sent.
    sandbox
        .fault("api", json!({ "rate_limit": { "retry_after_s": 7 } }), 1)
        .await;
    let limited = get().await;
    assert_eq!(limited.error(429), "PROVIDER_RATE_LIMITED");
    assert_eq!(limited.header("retry-after"), "7");
    let before = sandbox.count("api_calls").await;
    assert_eq!(get().await.error(429), "PROVIDER_RATE_LIMITED");
    assert_eq!(sandbox.count("api_calls").await, before);
}

/// A connect session whose exchange fails ends with a code at the partner's URL, and a new one works.
#[tokio::test]
async fn each_failure_of_an_exchange_ends_the_session() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default().with("REFRESH__TIMEOUT_MS", 1000)).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.account("user-1").await;
    let faults: [(Value, bool); 7] = [
        (json!({ "oauth_error": { "code": "invalid_grant" } }), false),
        (
            json!({ "error_in200": { "code": "bad_verification_code" } }),
            false,
        ),
        (json!("html"), true),
        (json!("garbage"), true),
        (json!("drop_after_acting"), true),
        (json!({ "fail": { "status": 500 } }), true),
        (json!({ "big": { "bytes": 10_485_760 } }), true),
    ];
    for (fault, _) in faults {
        sandbox.fault("exchange", fault.clone(), 1).await;
        let before = sandbox.count("token_requests").await;
        let session = partner.begin_connect(&account).await;
        let landed = Browser::new()
            .consent(session["connect_url"].as_str().unwrap(), "user-1")
            .await;
        let query: std::collections::HashMap<_, _> = landed.query_pairs().into_owned().collect();
        assert_eq!(query["status"], "error", "{fault}: {landed}");
        assert!(
            matches!(
                query["error"].as_str(),
                "token_exchange_failed" | "provider_unavailable"
            ),
            "{fault}: {landed}"
        );
        assert_eq!(query["account_id"], "user-1");
        // A code is sent once, whatever came back.
        assert_eq!(sandbox.count("token_requests").await, before + 1, "{fault}");
        let path = format!(
            "/accounts/{account}/connect/{}",
            session["session_id"].as_str().unwrap()
        );
        let ended = partner.send("GET", &path, None).await.data();
        assert_eq!(
            (&ended["status"], &ended["error"]),
            (&json!("failed"), &json!(query["error"]))
        );
    }
    let denied = partner.begin_connect(&account).await;
    let landed = Browser::new()
        .deny(denied["connect_url"].as_str().unwrap())
        .await;
    assert!(
        landed.query().unwrap().contains("error=access_denied"),
        "{landed}"
    );
    partner.connect(&account, "user-1").await;
}
