//! The connect walk as a partner's program and a browser see it.

use latchkey_tests::{Sandbox, Server, ServerOptions};
use serde_json::json;

#[tokio::test]
async fn an_account_connects_calls_and_disconnects() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;

    let account = partner.connected("user-1").await;
    let integration = partner.integration(&account).await;
    assert_eq!(
        (&integration["provider"], &integration["status"]),
        (&json!("sandbox"), &json!("active"))
    );

    let profile = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(profile.data()["sub"], "user-1");
    assert_eq!(sandbox.count("token_exchange").await, 1);

    let accepted = partner
        .call(
            "GET",
            "/sandbox/profile",
            "user-1",
            &[("prefer", "respond-async")],
            None,
        )
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let job = accepted.data()["job_id"].as_str().unwrap().to_owned();
    let done = partner.job(&job).await;
    assert_eq!(done["status"], "completed", "{done}");

    let gone = partner
        .send(
            "DELETE",
            &format!("/accounts/{account}/integrations/sandbox"),
            None,
        )
        .await;
    assert_eq!(gone.data()["deleted"], true);
    sandbox.wait("revocations", 1).await;
    let refused = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(refused.error(404), "CONNECTION_NOT_FOUND");
}
