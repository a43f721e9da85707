//! A store that is full or read-only: readiness says so and what to do, nothing is lost, and it goes on.

use std::{fs, os::unix::fs::PermissionsExt};

use latchkey_tests::{Server, ServerOptions};

/// A store that cannot be written makes the server not ready, with the reason.
#[tokio::test]
async fn readiness_names_a_store_that_cannot_be_written() {
    let server = Server::start(ServerOptions::default()).await;
    let partner = server.partner("test").await;
    let ready = server
        .http
        .send("GET", &format!("{}/readyz", server.admin), &[], None)
        .await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    // Replacing the directory's rights does not stop root; taking the tables away does the same harm.
    for name in ["latchkey.db", "latchkey.db-wal", "latchkey.db-shm"] {
        let path = server.data_dir().join(name);
        if path.exists() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        }
    }
    drop(partner);
    let live = server
        .http
        .send("GET", &format!("{}/livez", server.admin), &[], None)
        .await;
    assert_eq!(live.status, 200);
}
