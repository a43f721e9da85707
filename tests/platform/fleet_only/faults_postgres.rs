//! PostgreSQL ends under load and comes back: nothing that was acknowledged is lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use latchkey_tests::Partner;

use super::rig::{Rig, job_id, now, write};

/// Clients that write at once.
const CLIENTS: usize = 8;

/// Writes until told to stop, and keeps the jobs that were acknowledged. A request may wait for PostgreSQL to come
/// back; one that does not is told when to come again.
async fn load(partner: Partner, stop: Arc<AtomicBool>, acknowledged: Arc<Mutex<Vec<String>>>) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let answer = write(&partner, n).await;
        match answer.status {
            202 => acknowledged.lock().unwrap().push(job_id(&answer)),
            503 => {
                let wait = answer.header("retry-after").parse::<u64>();
                assert!(wait.is_ok_and(|seconds| seconds > 0), "{}", answer.text());
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
}

#[tokio::test]
async fn a_restart_of_postgres_loses_no_acknowledged_write() {
    let mut rig = Rig::start(&[]).await;
    let api = rig.process("api").await;
    let _workers = (rig.process("worker").await, rig.process("worker").await);
    let _schedulers = (
        rig.process("scheduler").await,
        rig.process("scheduler").await,
    );
    let partner = rig.partner(&api).await;
    let (stop, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(load(
                partner.clone(),
                Arc::clone(&stop),
                Arc::clone(&acknowledged),
            ))
        })
        .collect();
    let count = || acknowledged.lock().unwrap().len();
    latchkey_tests::until("load", || async { (count() > 100).then_some(()) }).await;
    rig.postgres.crash().await.unwrap();
    let at_crash = count();
    rig.postgres.start_again().await.unwrap();
    let back = now();
    latchkey_tests::until("service again", || async {
        (count() > at_crash + CLIENTS).then_some(())
    })
    .await;
    let took = back.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    rig.settled(Duration::from_secs(120)).await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    let list = acknowledged
        .iter()
        .map(|id| format!("'{id}'"))
        .collect::<Vec<_>>()
        .join(",");
    let lost =
        i64::try_from(acknowledged.len()).unwrap() - rig.jobs(&format!("id IN ({list})")).await;
    assert_eq!(lost, 0, "of {} acknowledged", acknowledged.len());
    // Every call, acknowledged or not, has one receipt; none was sent that has none.
    let calls = rig.jobs("kind = 'provider_call'").await;
    rig.every_call_has_one_receipt(usize::try_from(calls).unwrap())
        .await;
    let written = rig.sandbox.count("api_writes").await;
    assert!(
        written <= u64::try_from(calls).unwrap(),
        "{written} > {calls}"
    );
    let completed = rig
        .jobs("kind = 'provider_call' AND state = 'completed'")
        .await;
    assert!(
        written >= u64::try_from(completed).unwrap(),
        "{written} < {completed}"
    );
}
