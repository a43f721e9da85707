//! Callbacks after a kill. In one process what ran is released at its start; a fleet waits for the leases of what
//! ran, which are longer than a test.

use std::collections::BTreeSet;

use futures::future::join_all;
use latchkey_tests::{Sandbox, Server, receiver::Receiver, until};
use serde_json::Value;

use crate::callbacks::{accept, call, options};

/// The outbox: killed right after calls were accepted, each that ends is told of.
#[tokio::test]
async fn callbacks_survive_a_kill() {
    let sandbox = Sandbox::start(&["api_latency_ms=50"]).await;
    let mut server = Server::start(options().quick()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let receiver = Receiver::start(&[]).await;
    let jobs = join_all((0..40).map(|_| accept(&partner, call(&receiver.url, "/echo")))).await;
    sandbox.wait("api_calls", 8).await;
    server.crash_and_restart().await;
    let told = until("every job told of", || async {
        let told: BTreeSet<String> = receiver
            .received()
            .iter()
            .map(|message| serde_json::from_str::<Value>(&message.body).unwrap())
            .map(|said| said["data"]["job_id"].as_str().unwrap().to_owned())
            .collect();
        (told.len() == jobs.len()).then_some(told)
    })
    .await;
    assert_eq!(told, jobs.into_iter().collect());
}
