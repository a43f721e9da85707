//! Workers that stand still. Those that die are in `faults_worker.rs`.

use futures::future::join_all;
use latchkey_tests::{Fleet, Sandbox, Server, ServerOptions, until};
use rustix::process::Signal;
use serde_json::json;

/// A worker that stands still for longer than its claims hold loses them: the jobs run elsewhere. When it goes on,
/// its late outcomes change nothing, and each job has one receipt.
#[tokio::test]
async fn a_worker_that_stood_still_ends_nothing() {
    let sandbox = Sandbox::start(&[]).await;
    let fleet = Fleet::start().await;
    let options = ServerOptions::default()
        .with("WORKER__JOB_LEASE_MS", 1500)
        .with("SCHEDULER__REQUEUE_MS", 250);
    let process = async |role| Server::join(&fleet, options.clone().role(role)).await;
    let api = process("api").await;
    let _scheduler = process("scheduler").await;
    let stopped = process("worker").await;
    api.sandbox_config(&sandbox).await;
    let partner = api.partner("test").await;
    partner.connected("user-1").await;
    sandbox.set(json!({ "api_latency_ms": 1000 })).await;
    let before = sandbox.count("api_calls").await;
    let later = &[("prefer", "respond-async")];
    let asked = (0..20).map(|_| partner.call("GET", "/sandbox/profile", "user-1", later, None));
    for answer in join_all(asked).await {
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    sandbox.wait("api_calls", before + 20).await;
    stopped.process.signal(Signal::STOP);
    let _heir = process("worker").await;
    let database = fleet.database();
    let completed = "SELECT COUNT(*) FROM jobs WHERE visible = 1 AND state = 'completed'";
    until("all jobs completed elsewhere", || async {
        (database.number(completed).await == 20).then_some(())
    })
    .await;
    let ended = "SELECT SUM(completed_at + attempts)::BIGINT FROM jobs WHERE visible = 1";
    let first = database.number(ended).await;
    stopped.process.signal(Signal::CONT);
    until("late outcomes that were not kept", || async {
        let log = stopped.process.log();
        (log.matches("its outcome was not kept").count() == 20).then_some(())
    })
    .await;
    assert_eq!(database.number(ended).await, first);
    assert_eq!(database.number("SELECT COUNT(*) FROM calls").await, 20);
    assert_eq!(sandbox.count("api_calls").await, before + 40);
}
