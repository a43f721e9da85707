//! Workers that die in the middle of their work, and a job that kills them.

use std::time::Duration;

use latchkey_tests::{Server, ServerOptions, until};
use serde_json::Value;

use super::rig::{Ends, Rig, accept_reads, accept_writes, job_id, now, write};

/// 200 calls in flight in a worker that is killed: all are taken up elsewhere within 15 s. Those that read are
/// made again; those that wrote have an unknown outcome and are not, so that nothing is written twice.
#[tokio::test]
async fn a_killed_workers_jobs_run_elsewhere_within_15_s_and_act_once() {
    let rig = Rig::start(&[]).await;
    let (api, mut doomed) = (rig.process("api").await, rig.process("worker").await);
    let _scheduler = rig.process("scheduler").await;
    let partner = rig.partner(&api).await;
    rig.sandbox
        .set(serde_json::json!({ "api_latency_ms": 20_000 }))
        .await;
    let (reads, writes) = (
        rig.sandbox.count("api_calls").await,
        rig.sandbox.count("api_writes").await,
    );
    accept_reads(&partner, 100).await;
    accept_writes(&partner, 100).await;
    rig.sandbox.wait("api_calls", reads + 200).await;
    assert_eq!(rig.sandbox.count("api_writes").await, writes + 100);
    let _other = rig.process("worker").await;
    rig.sandbox
        .set(serde_json::json!({ "api_latency_ms": 0 }))
        .await;
    doomed.process.kill().await;
    let ends = rig.settled(Duration::from_secs(15)).await;
    assert_eq!(
        ends,
        Ends {
            completed: 100,
            failed: 100
        }
    );
    let unknown = rig.jobs("error_code = 'OUTCOME_UNKNOWN'").await;
    assert_eq!(unknown, 100);
    // Written once, read at most twice.
    assert_eq!(rig.sandbox.count("api_writes").await, writes + 100);
    assert_eq!(rig.sandbox.count("api_calls").await, reads + 300);
    rig.every_call_has_one_receipt(200).await;
    let lost = rig.jobs("history LIKE '%WORKER_LOST%'").await;
    assert_eq!(lost, 200);
}

/// A revocation that kills its process each time is dead after the third, with its history; calls beside it end
/// well; and the operator finds it, revives it once the fault is mended, and stops what has not begun.
#[tokio::test]
async fn a_job_that_kills_its_workers_is_dead_after_three_and_others_are_not() {
    const CALLS: usize = 50;
    let rig = Rig::start(&[]).await;
    let api = rig.process("api").await;
    let _scheduler = rig.process("scheduler").await;
    let mut worker = rig.process("worker").await;
    let partner = rig.partner(&api).await;
    let account = partner.connected("user-2").await;
    worker.stop().await;
    let path = format!("/accounts/{account}/integrations/sandbox");
    partner.send("DELETE", &path, None).await.data();
    accept_reads(&partner, CALLS).await;
    // It dies where the provider has revoked and nobody knows.
    let deadly = [("FAILPOINTS", "revoke::confirmed=return")];
    for _ in 0..3 {
        worker.restart_with(&deadly).await;
        assert_eq!(worker.process.ended().await, None, "killed by a signal");
    }
    worker.restart_with(&deadly).await;
    let ends = rig.settled(Duration::from_secs(60)).await;
    let all = i64::try_from(CALLS).unwrap();
    assert_eq!(
        ends,
        Ends {
            completed: all,
            failed: 0
        }
    );
    rig.every_call_has_one_receipt(CALLS).await;

    let dead = listed(&api, "dead").await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0]["kind"], "revoke_grant");
    assert_eq!(dead[0]["state"], "dead");
    let history = dead[0]["history"].as_array().unwrap();
    let lost: Vec<_> = history
        .iter()
        .filter(|line| line["code"] == "WORKER_LOST")
        .collect();
    assert_eq!(lost.len(), 3, "{history:?}");
    assert!(
        (1..)
            .zip(&lost)
            .all(|(attempt, line)| line["attempt"] == attempt),
        "{history:?}"
    );

    worker.process.kill().await;
    let waiting = job_id(&write(&partner, 1).await);
    let canceled = api.command(&["jobs", "cancel", &waiting], "").await;
    assert_eq!(canceled.code, 0, "{canceled:?}");
    assert_eq!(canceled.json()["state"], "canceled");
    worker.restart().await;
    let id = dead[0]["id"].as_str().unwrap();
    let revived = api.command(&["jobs", "retry", id], "").await;
    assert_eq!(revived.code, 0, "{revived:?}");
    until("the revived revocation", || async {
        let done = rig
            .jobs("kind = 'revoke_grant' AND state = 'completed'")
            .await;
        (done == 1).then_some(())
    })
    .await;
    assert_eq!(listed(&api, "dead").await.len(), 0);
    assert_eq!(listed(&api, "canceled").await.len(), 1);
    assert_eq!(rig.sandbox.count("api_writes").await, 0);
}

/// What `latchkey jobs list` shows of a state.
async fn listed(api: &Server, state: &str) -> Vec<Value> {
    let said = api.command(&["jobs", "list", "--state", state], "").await;
    assert_eq!(said.code, 0, "{said:?}");
    let jobs = said.stdout.lines();
    jobs.map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A worker that is asked to stop finishes what it has; what it has not begun goes on elsewhere.
#[tokio::test]
async fn a_stopped_worker_leaves_nothing_behind() {
    let rig = Rig::start(&["api_latency_ms=300"]).await;
    let api = rig.process("api").await;
    let _scheduler = rig.process("scheduler").await;
    let options = ServerOptions::default().with("WORKER__BACKGROUND", 16);
    let mut leaving = rig.process_with("worker", options).await;
    let partner = rig.partner(&api).await;
    let before = rig.sandbox.count("api_writes").await;
    accept_writes(&partner, 100).await;
    rig.sandbox.wait("api_writes", before + 5).await;
    let _other = rig.process("worker").await;
    assert_eq!(
        leaving.stop().await,
        Some(0),
        "{}",
        leaving.process.stderr()
    );
    let began = now();
    let ends = rig.settled(Duration::from_secs(30)).await;
    assert_eq!(
        ends,
        Ends {
            completed: 100,
            failed: 0
        },
        "{:?}",
        began.elapsed()
    );
    assert_eq!(rig.sandbox.count("api_writes").await, before + 100);
    assert_eq!(
        rig.jobs("history IS NOT NULL").await,
        0,
        "nothing went wrong with any"
    );
    rig.every_call_has_one_receipt(100).await;
}
