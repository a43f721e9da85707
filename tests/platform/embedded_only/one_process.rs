//! One process at a time on a data directory.

use latchkey_tests::{Server, ServerOptions, run};

/// A second server on the same directory is refused, by name, and the first goes on.
#[tokio::test]
async fn a_second_process_on_one_directory_is_refused() {
    let server = Server::start(ServerOptions::default()).await;
    let directory = server.data_dir().display().to_string();
    let second = run(
        &[
            "serve",
            "--data-dir",
            &directory,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ],
        &[],
        "",
    )
    .await;
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.stderr.contains(&directory) && second.stderr.contains("in use"),
        "{}",
        second.stderr
    );
    let health = server
        .http
        .send("GET", &format!("{}/api/v1/health", server.url), &[], None)
        .await;
    assert_eq!(health.status, 200);
}
