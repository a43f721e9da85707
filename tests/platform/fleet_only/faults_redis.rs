//! Redis emptied, paused, cut off and restarted: it holds wake-ups, and rows are the truth.

use std::time::Duration;

use latchkey_tests::ServerOptions;
use serde_json::json;

use super::rig::{Ends, Rig, accept_writes, job_id, now, write};
use crate::count;

/// Thousands pending, Redis emptied twice: before anything ran, and in the middle. All finish within 60 s, none
/// is lost, none acts twice.
#[tokio::test]
async fn an_emptied_redis_loses_nothing_and_repeats_nothing() {
    let pending = count(2_000, 20_000);
    let rig = Rig::start(&[]).await;
    let api = rig.process("api").await;
    let mut worker = rig.process("worker").await;
    let _scheduler = rig.process("scheduler").await;
    let partner = rig.partner(&api).await;
    worker.stop().await;
    let before = rig.sandbox.count("api_writes").await;
    accept_writes(&partner, pending).await;
    rig.redis.command(&["FLUSHALL"]).unwrap();
    let began = now();
    let _workers = (rig.process("worker").await, rig.process("worker").await);
    rig.sandbox
        .wait("api_writes", before + pending as u64 / 10)
        .await;
    rig.redis.command(&["FLUSHALL"]).unwrap();
    let ends = rig.settled(Duration::from_secs(60)).await;
    let all = i64::try_from(pending).unwrap();
    assert_eq!(
        ends,
        Ends {
            completed: all,
            failed: 0
        },
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        rig.sandbox.count("api_writes").await,
        before + pending as u64
    );
    rig.every_call_has_one_receipt(pending).await;
}

/// Connections killed, the server paused for 5 s, ended and started again: what was accepted is done, what
/// cannot be accepted is refused with 503 and `Retry-After`, and everybody comes back by themselves.
#[tokio::test]
async fn redis_cut_paused_and_restarted_is_survived() {
    let mut rig = Rig::start(&[]).await;
    let (api, _worker) = (rig.process("api").await, rig.process("worker").await);
    let _scheduler = rig.process("scheduler").await;
    let partner = rig.partner(&api).await;
    let before = rig.sandbox.count("api_writes").await;
    accept_writes(&partner, 50).await;
    for kind in ["normal", "pubsub"] {
        rig.redis
            .command(&["CLIENT", "KILL", "TYPE", kind])
            .unwrap();
    }
    accept_writes(&partner, 50).await;
    rig.settled(Duration::from_secs(30)).await;

    let (stood_still, ()) = tokio::join!(
        rig.redis.stand_still(Duration::from_secs(5)),
        accept_writes(&partner, 50)
    );
    stood_still.unwrap();
    rig.settled(Duration::from_secs(30)).await;

    rig.redis.kill().unwrap();
    // Somebody who waits cannot be served; what waits in a row can.
    let waiting = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(waiting.error(503), "UNAVAILABLE");
    assert!(
        waiting
            .header("retry-after")
            .parse::<u64>()
            .is_ok_and(|seconds| seconds > 0)
    );
    accept_writes(&partner, 50).await;
    rig.redis.start_again().await.unwrap();
    let ends = rig.settled(Duration::from_secs(60)).await;
    assert_eq!(
        ends,
        Ends {
            completed: 200,
            failed: 0
        }
    );
    let profile = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(profile.data()["sub"], "user-1");
    assert_eq!(rig.sandbox.count("api_writes").await, before + 200);
    rig.every_call_has_one_receipt(200).await;
}

/// Thousands due at one instant: the queue never holds more than its gate lets, and all of them are drained.
#[tokio::test]
async fn a_burst_due_at_one_instant_stays_within_the_gate() {
    const GATE: i64 = 4_000;
    let due = count(6_000, 50_000);
    let rig = Rig::start(&[]).await;
    let api = rig.process("api").await;
    let mut worker = rig.process("worker").await;
    let partner = rig.partner(&api).await;
    worker.stop().await;
    // Refresh jobs of no grants, which have nothing to do but to be claimed and completed.
    let columns = "id, partner_id, kind, urgency, state, visible, payload, attempts, run_at, wake_at, created_at";
    let at = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT + 1000000";
    let rows = format!(
        "INSERT INTO jobs ({columns}) SELECT 'job_' || LPAD(TO_HEX(n), 32, '0'), '{}', 'refresh_grants', 'refresh', \
         'queued', 0, '{{\"grants\":[],\"asked\":false}}', 0, t.at, t.at, t.at \
         FROM generate_series(1, {due}) AS n, (SELECT {at} AS at) AS t",
        partner.id
    );
    rig.fleet.database().execute(&rows).await;
    let _scheduler = rig.process("scheduler").await;
    let waiting = || {
        let key = format!("{}:refresh:active", rig.fleet.namespace());
        rig.redis
            .command(&["LLEN", &key])
            .unwrap()
            .parse::<i64>()
            .unwrap()
    };
    // Without a worker it fills up to the gate, and no further.
    latchkey_tests::until("a full queue", || async {
        (waiting() >= GATE).then_some(())
    })
    .await;
    let began = now();
    // These jobs stand for any: a worker usually has few slots for this kind, because one holds fifty grants.
    let slots = || ServerOptions::default().with("WORKER__REFRESH", 128);
    let workers = (
        rig.process_with("worker", slots()).await,
        rig.process_with("worker", slots()).await,
    );
    let mut most = 0;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while rig.jobs("state IN ('queued', 'running')").await > 0 {
        look.tick().await;
        most = most.max(waiting());
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "not drained: {most}"
        );
    }
    drop(workers);
    assert!(most <= GATE, "{most}");
    let done = rig
        .jobs("kind = 'refresh_grants' AND state = 'completed' AND attempts = 1")
        .await;
    assert_eq!(done, i64::try_from(due).unwrap());
}

/// An API that dies after it accepted: the job is there.
#[tokio::test]
async fn what_a_dead_api_accepted_is_done() {
    let rig = Rig::start(&[]).await;
    let (mut api, other) = (rig.process("api").await, rig.process("api").await);
    let (_worker, _scheduler) = (rig.process("worker").await, rig.process("scheduler").await);
    let mut partner = rig.partner(&api).await;
    rig.sandbox.set(json!({ "api_latency_ms": 500 })).await;
    let accepted = job_id(&write(&partner, 1).await);
    api.process.kill().await;
    partner.origin.clone_from(&other.url);
    assert_eq!(partner.job(&accepted).await["status"], "completed");
    rig.every_call_has_one_receipt(1).await;
}
