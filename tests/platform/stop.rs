//! Stops: what is in flight is finished, then the process ends with 0.

use futures::future::join_all;
use latchkey_tests::{Sandbox, Server, ServerOptions};

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
