//! Stops: what is in flight is finished, then the process ends with 0. And one process at a time.

use futures::future::join_all;
use latchkey_tests::{Sandbox, Server, ServerOptions, run};

/// SIGTERM with 50 one-second calls in flight: 50 answers, exit 0.
#[tokio::test]
async fn sigterm_answers_what_is_in_flight() {
    let sandbox = Sandbox::start(&["api_latency_ms=1000"]).await;
    let mut server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let before = sandbox.count("api_calls").await;
    let calls = tokio::spawn({
        let partner = partner.clone();
        async move {
            join_all((0..50).map(|_| partner.call("GET", "/sandbox/profile", "user-1", &[], None)))
                .await
        }
    });
    sandbox.wait("api_calls", before + 50).await;
    assert_eq!(server.stop().await, Some(0), "{}", server.process.stderr());
    let answers = calls.await.unwrap();
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 50);
    assert!(!server.data_dir().join("run.json").exists());
}

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
