//! The command line beside a running server and without one.

use latchkey_tests::{Server, ServerOptions, run};
use serde_json::Value;

/// Partners, keys and auth configs are made, listed and ended, beside a server and without one.
#[tokio::test]
async fn commands_work_beside_a_server_and_without_one() {
    let mut server = Server::start(ServerOptions::default()).await;
    let partner = server.partner("free").await;
    let health = partner.send("GET", "/partner", None).await.data();
    assert_eq!(health["company"], "Acme", "{health}");
    let listed = server.command(&["partner", "list"], "").await;
    assert!(listed.stdout.contains(&partner.id), "{listed:?}");

    let made = server.command(&["keys", "create", &partner.id], "").await;
    assert_eq!(made.code, 0, "{made:?}");
    let made = made.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let keys = server.command(&["keys", "list", &partner.id], "").await;
    assert!(
        keys.stdout.contains(id) && !keys.stdout.contains(key),
        "{keys:?}"
    );
    let revoked = server
        .command(&["keys", "revoke", &partner.id, id], "")
        .await;
    assert_eq!(revoked.code, 0, "{revoked:?}");

    let suspended = server
        .command(&["partner", "suspend", &partner.id], "")
        .await;
    assert_eq!(suspended.code, 0, "{suspended:?}");
    server.stop().await;

    // Without a server the same commands open the store themselves.
    let listed = server.command(&["partner", "list"], "").await;
    let row: Value = serde_json::from_str(listed.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (row["id"].as_str(), row["status"].as_str()),
        (Some(partner.id.as_str()), Some("suspended"))
    );
    let resumed = server
        .command(&["partner", "resume", &partner.id], "")
        .await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let migrated = server.command(&["migrate"], "").await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let checked = server.command(&["doctor"], "").await;
    assert_eq!(checked.code, 0, "{checked:?}");
    server.restart().await;
    partner.send("GET", "/partner", None).await.data();
}

/// What is asked wrongly says so with 2 and names the way out.
#[tokio::test]
async fn wrong_questions_exit_with_two() {
    for arguments in [
        &["nonsense"][..],
        &["partner", "create"],
        &["serve", "--nonsense"],
    ] {
        let said = run(arguments, &[], "").await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains("--help"), "{said:?}");
    }
    let directory = tempfile_dir();
    let said = run(
        &[
            "partner",
            "create",
            "--company",
            "A",
            "--website",
            "not a url",
            "--data-dir",
            directory.path().to_str().unwrap(),
        ],
        &[],
        "",
    )
    .await;
    assert!(
        said.code != 0 && said.stderr.contains("website"),
        "{said:?}"
    );
}

/// A cron line that does not read is found at the start, not when the task would run.
#[tokio::test]
async fn a_cron_line_that_does_not_read_refuses_the_start() {
    let directory = tempfile_dir();
    let line = (
        "LATCHKEY_SCHEDULER__USAGE_ROLLUP".to_owned(),
        "every now and then".to_owned(),
    );
    let path = directory.path().to_str().unwrap();
    let said = run(&["serve", "--data-dir", path], &[line], "").await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr.contains("scheduler.usage_rollup")
            && said.stderr.contains("every now and then"),
        "{said:?}"
    );
}

fn tempfile_dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
