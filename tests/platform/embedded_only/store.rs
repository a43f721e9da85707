//! A store that is full or may not be written: readiness says so and what to do, the API answers 503, nothing is
//! lost, and it goes on when there is room again.

use std::fs;

use latchkey_tests::{
    Answer, Sandbox, Server, ServerOptions,
    process::{self, Said},
    until,
};
use serde_json::json;
use tokio::process::Command;

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

/// A volume that refuses every write, as one does that the kernel has remounted read-only after an error.
#[tokio::test]
async fn a_volume_that_refuses_writes_is_named_survived_and_loses_nothing() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default().taking_file_limits()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;

    server.file_limit(Some(0));
    let refusing = until("a store that refuses writes", || async {
        let ready = readiness(&server).await;
        (ready.status == 503).then_some(ready)
    })
    .await;
    assert!(
        refusing.text().contains("read-only") && refusing.text().contains("mount"),
        "{}",
        refusing.text()
    );
    let body = json!({ "external_id": "user-2" });
    let refused = partner.send("POST", "/accounts", Some(body.clone())).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());

    server.file_limit(None);
    until("a store that takes writes", || async {
        (readiness(&server).await.status == 200).then_some(())
    })
    .await;
    partner.send("POST", "/accounts", Some(body)).await.data();
    assert_eq!(partner.integration(&account).await["status"], "active");
}

/// Runs a command of the binary on a stopped server's data, behind mounts that it alone sees: `$0` is the
/// directory.
async fn behind(server: &Server, mounts: &str, arguments: &[&str]) -> Said {
    let script = format!(r#"{mounts} && exec "$@" --data-dir "$0""#);
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(server.data_dir())
        .arg(process::binary())
        .args(arguments);
    process::finish(command, &[], "").await
}

/// What `doctor` says of the store.
fn of_the_store(said: &Said) -> serde_json::Value {
    let lines = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let found = lines
        .into_iter()
        .find(|line: &serde_json::Value| line["check"] == "store");
    found.unwrap_or_else(|| panic!("{said:?}"))
}

/// A store on a read-only mount: the doctor names it, and the server does not come up.
#[tokio::test]
async fn a_read_only_store_is_named_by_the_doctor_and_at_the_start() {
    let mut server = Server::start(ServerOptions::default()).await;
    server.stop().await;
    let mounts = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#;
    let doctor = behind(&server, mounts, &["doctor", "--json"]).await;
    assert_eq!(doctor.code, 1, "{doctor:?}");
    let found = of_the_store(&doctor);
    assert_eq!(found["state"], "fail", "{found}");
    assert!(found.to_string().contains("read-only"), "{found}");
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let refused = behind(&server, mounts, &serve).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.to_lowercase().contains("read-only"),
        "{}",
        refused.stderr
    );
}

/// A store on a full disk: the doctor names it.
#[tokio::test]
async fn a_full_store_is_named_by_the_doctor() {
    let mut server = Server::start(ServerOptions::default()).await;
    server.stop().await;
    let mounts = r#"cp -a "$0" "$0.copy" && mount -t tmpfs -o size=48m,mode=700 tmpfs "$0" && \
        cp -a "$0.copy/." "$0" && ! head -c 64m /dev/zero >"$0/filler" 2>/dev/null"#;
    let doctor = behind(&server, mounts, &["doctor", "--json"]).await;
    assert_eq!(doctor.code, 1, "{doctor:?}");
    let found = of_the_store(&doctor);
    assert_eq!(found["state"], "fail", "{found}");
    assert!(found.to_string().contains("full"), "{found}");
}
