//! Graceful stops of one process of several, under load: nobody notices.

use futures::future::join_all;
use latchkey_tests::{Fleet, Sandbox, Server, ServerOptions, until};
use rustix::process::Signal;
use serde_json::json;

/// A worker with 50 calls in flight is asked to stop, then the API that waits for 50: readiness turns false at
/// once, every call is answered, both end with 0, and nothing is left running.
#[tokio::test]
async fn a_worker_and_an_api_stop_and_every_call_is_answered() {
    let sandbox = Sandbox::start(&[]).await;
    let fleet = Fleet::start().await;
    let process = async |role| Server::join(&fleet, ServerOptions::default().role(role)).await;
    let (mut api, mut worker) = (process("api").await, process("worker").await);
    api.sandbox_config(&sandbox).await;
    let partner = api.partner("test").await;
    partner.connected("user-1").await;
    sandbox.set(json!({ "api_latency_ms": 1500 })).await;
    let calls = || {
        let partner = partner.clone();
        tokio::spawn(async move {
            let call = |_| partner.call("GET", "/sandbox/profile", "user-1", &[], None);
            let answers = join_all((0..50).map(call)).await;
            answers.iter().filter(|answer| answer.status == 200).count()
        })
    };

    let before = sandbox.count("api_calls").await;
    let answered = calls();
    sandbox.wait("api_calls", before + 50).await;
    worker.process.signal(Signal::TERM);
    unready(&worker).await;
    // What comes from here on is another's.
    let _heir = process("worker").await;
    let later = calls();
    assert_eq!(
        worker.process.ended().await,
        Some(0),
        "{}",
        worker.process.stderr()
    );
    assert_eq!(answered.await.unwrap(), 50);
    assert_eq!(later.await.unwrap(), 50);

    let answered = calls();
    sandbox.wait("api_calls", before + 150).await;
    api.process.signal(Signal::TERM);
    unready(&api).await;
    assert_eq!(
        api.process.ended().await,
        Some(0),
        "{}",
        api.process.stderr()
    );
    assert_eq!(answered.await.unwrap(), 50);
    let running = "SELECT COUNT(*) FROM jobs WHERE state = 'running'";
    assert_eq!(fleet.database().number(running).await, 0);
}

/// Waits until readiness is false, while the process still answers.
async fn unready(server: &Server) {
    let url = format!("{}/readyz", server.admin);
    until("a process that is not ready", || async {
        let answer = server.http.send("GET", &url, &[], None).await;
        (answer.status == 503).then_some(())
    })
    .await;
}
