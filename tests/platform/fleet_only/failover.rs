//! A database that turns read-only under its sessions, as a failover leaves the old primary.

use latchkey_tests::{Answer, Fleet, Server, ServerOptions, until};
use serde_json::json;

async fn readiness(server: &Server) -> Answer {
    let url = format!("{}/readyz", server.admin);
    server.http.send("GET", &url, &[], None).await
}

/// Readiness names it, the API answers 503 with Retry-After, nothing is lost, and it goes on by itself once the
/// database takes writes again.
#[tokio::test]
async fn a_read_only_database_is_named_survived_and_loses_nothing() {
    let fleet = Fleet::start().await;
    let server = Server::join(&fleet, ServerOptions::default()).await;
    let partner = server.partner("test").await;
    let kept = partner.account("user-1").await;
    let (database, name) = (fleet.database(), fleet.database().name());

    let read_only = "default_transaction_read_only";
    database
        .execute(&format!("ALTER DATABASE {name} SET {read_only} = on"))
        .await;
    // The sessions that were there before end, as those of a demoted server do.
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let refusing = until("a store that refuses writes", || async {
        let ready = readiness(&server).await;
        (ready.status == 503 && ready.text().contains("read-only")).then_some(ready)
    })
    .await;
    assert_eq!(refusing.json()["ready"], false);
    let body = json!({ "external_id": "user-2" });
    let refused = partner.send("POST", "/accounts", Some(body.clone())).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());

    database
        .execute(&format!(
            "BEGIN READ WRITE; ALTER DATABASE {name} RESET {read_only}; COMMIT"
        ))
        .await;
    until("a store that takes writes", || async {
        (readiness(&server).await.status == 200).then_some(())
    })
    .await;
    partner.send("POST", "/accounts", Some(body)).await.data();
    let path = format!("/accounts/{kept}");
    let account = partner.send("GET", &path, None).await.data();
    assert_eq!(account["external_id"], "user-1");
}
