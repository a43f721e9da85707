//! The driver, and all tasks at once.

use std::sync::atomic::{AtomicU32, Ordering};

use latchkey_domain::{ConnectionId, GrantId, Timestamp};
use latchkey_jobs::{Urgency, kinds::RevokeGrant};
use latchkey_runtime::{Config, Context};
use latchkey_store::StoreError;
use serde::Serialize;

use super::rig::{Rig, SECOND, T0};
use crate::{
    cadence::{Cadence, CronError},
    driver::{Claim, Task, entry, tick},
    tasks,
};

#[tokio::test]
async fn every_task_runs_on_an_empty_store_and_says_that_it_was_idle() {
    let rig = Rig::new().await;
    for task in tasks::all() {
        rig.run(task.name).await;
    }
    for said in rig.ctx.store.list_tasks().await.unwrap() {
        let status = said.status.unwrap();
        assert!(
            !status.contains(|c: char| ('1'..='9').contains(&c)),
            "{}: {status}",
            said.name
        );
    }
    let text = rig.ctx.metrics.encode();
    assert!(
        text.contains(r#"latchkey_task_runs_total{end="ok",task="retention"} 1"#),
        "{text}"
    );
    assert!(!text.contains("failed"), "{text}");
}

/// A task that counts its runs, and fails on the first.
struct Counted;
static RUNS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Default, PartialEq, Serialize)]
struct Run(u32);

impl Task for Counted {
    const NAME: &'static str = "counted";
    type Status = Run;

    fn cadence(_: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(SECOND))
    }

    async fn run(_: &Context) -> Result<Run, StoreError> {
        match RUNS.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StoreError::Closed),
            n => Ok(Run(n)),
        }
    }
}

#[tokio::test]
async fn a_tick_is_made_by_one_process_and_those_missed_are_made_up_once() {
    let rig = Rig::new().await;
    let task = entry::<Counted>();
    let ticks = async |slot: Timestamp| {
        let claim = |owner| Claim {
            owner,
            slot,
            lease: SECOND,
        };
        let owners = ["a", "b", "c"].map(|owner| tick(&rig.ctx, &task, claim(owner)));
        futures::future::join_all(owners).await;
        RUNS.load(Ordering::SeqCst)
    };
    assert_eq!(ticks(T0).await, 1);
    assert_eq!(rig.said("counted").await, "the store is closed");
    assert_eq!(ticks(T0).await, 1, "a tick that failed is not repeated");
    rig.pass(SECOND);
    assert_eq!(ticks(T0 + SECOND).await, 2);
    // An hour without any process: one run makes up for it.
    rig.pass(SECOND * 3600);
    let now = Cadence::Every(SECOND).latest(rig.ctx.now()).unwrap();
    assert_eq!(ticks(now).await, 3);
    assert_eq!(rig.said("counted").await, "2");
}

#[tokio::test]
async fn the_scheduler_stops_when_the_process_drains_and_pushes_what_an_old_queue_lost() {
    let rig = Rig::new().await;
    let partner = rig.partner(1).await;
    let kind = RevokeGrant {
        grant: GrantId::from_u128(1),
        connection: ConnectionId::from_u128(1),
    };
    let mut row = rig.job_row(partner, &kind);
    row.dispatched_at = Some(T0);
    row.wake_at = Some(T0 + SECOND * 120);
    assert!(rig.ctx.store.insert_job(row).await.unwrap());
    let run = tokio::spawn(crate::run(rig.ctx.clone()));
    while rig
        .ctx
        .queue
        .depth(Urgency::Background)
        .await
        .unwrap()
        .entries
        == 0
    {
        tokio::task::yield_now().await;
    }
    rig.ctx.stopper.drain();
    tokio::time::timeout(SECOND * 10, run)
        .await
        .unwrap()
        .unwrap();
}
