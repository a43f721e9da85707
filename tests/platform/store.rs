//! A store that is full: readiness says so and what to do, the API answers 503, nothing is lost, and it goes
//! on when there is room again.

use std::fs;

use latchkey_tests::{Answer, Sandbox, Server, ServerOptions, until};
use serde_json::json;

async fn readiness(server: &Server) -> Answer {
    server
        .http
        .send("GET", &format!("{}/readyz", server.admin), &[], None)
        .await
}

/// A disk of 48 MiB is filled to its last block and emptied again.
#[tokio::test]
async fn a_full_disk_is_named_survived_and_loses_nothing() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default().on_a_disk_of("48m")).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    assert_eq!(readiness(&server).await.status, 200);

    let filler = server.data_dir().join("filler");
    // It ends with "no space left"; every block that was left is taken.
    fs::write(&filler, vec![0; 64 << 20]).unwrap_err();
    let full = until("a store that is full", || async {
        let ready = readiness(&server).await;
        (ready.status == 503).then_some(ready)
    })
    .await;
    assert!(
        full.text().contains("full") && full.text().contains("free space"),
        "{}",
        full.text()
    );
    let body = json!({ "external_id": "user-2" });
    let refused = partner.send("POST", "/accounts", Some(body.clone())).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    let alive = server
        .http
        .send("GET", &format!("{}/livez", server.admin), &[], None)
        .await;
    assert_eq!(alive.status, 200);

    fs::remove_file(&filler).unwrap();
    until("a store with room", || async {
        (readiness(&server).await.status == 200).then_some(())
    })
    .await;
    partner.send("POST", "/accounts", Some(body)).await.data();
    assert_eq!(partner.integration(&account).await["status"], "active");
    let profile = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(profile.data()["sub"], "user-1");
}
