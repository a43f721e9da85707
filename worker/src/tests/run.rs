//! The worker as a whole: its loops over the queue, and how they stop.

use std::{sync::Arc, time::Duration};

use latchkey_jobs::{Job, kinds::RefreshGrants};
use latchkey_sandbox::Counter;

use super::{
    bench::{Bench, LONG},
    caller::request,
};
use crate::{keep_running, run_queues};

#[tokio::test]
async fn jobs_of_every_urgency_run_until_the_stop_and_running_ones_finish() {
    let bench = Bench::new().await;
    let ctx = bench.ctx();
    let connection = bench.connect().await;
    let session = bench.session(bench.account, "bob").await;
    let running = tokio::spawn(run_queues(Arc::clone(&bench.worker)));
    let exchange = bench.exchange_job(&session).await;
    ctx.queue.push(exchange.clone()).await.unwrap();
    assert_eq!(bench.exchange_answer(&exchange).await, None);
    let refresh = RefreshGrants {
        grants: vec![(bench.partner, connection.grant.id)],
        asked: true,
    };
    let id = latchkey_domain::JobId::new(ctx.now(), &*ctx.entropy);
    let changed = ctx.signals.subscribe(connection.grant.id.as_u128());
    ctx.queue
        .push(Job::new(id, bench.partner, &refresh, ctx.now()).unwrap())
        .await
        .unwrap();
    assert!(changed.wait(LONG).await);
    assert_eq!(bench.sandbox.count(Counter::TokenRefresh), 1);
    // A call is at the provider when the stop comes: its caller has the answer all the same.
    bench
        .sandbox
        .change(|settings| settings.api_latency_ms = 200)
        .unwrap();
    bench.sandbox.reset_counters();
    let call = bench
        .waiting(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    ctx.queue.push(call.clone()).await.unwrap();
    assert_eq!(bench.sandbox.wait(Counter::ApiCalls, 1, LONG).await, 1);
    ctx.stopper.finish();
    tokio::time::timeout(LONG, running).await.unwrap().unwrap();
    assert!(
        bench
            .answer_within(&call, Duration::from_millis(1))
            .await
            .is_some()
    );
    // What comes after the stop stays for the next worker.
    ctx.queue.push(call).await.unwrap();
    assert_eq!(
        ctx.queue
            .depth(latchkey_jobs::Urgency::Interactive)
            .await
            .unwrap()
            .entries,
        1
    );
}

#[tokio::test]
async fn a_loop_that_fails_or_panics_is_begun_again() {
    let bench = Bench::new().await;
    let (tx, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let worker = Arc::clone(&bench.worker);
    let mut starts = 0;
    let looping = tokio::spawn(async move {
        keep_running(&worker, "test", move || {
            starts += 1;
            let (tx, start) = (tx.clone(), starts);
            async move {
                tx.send(start).unwrap();
                match start {
                    1 => panic!("once"),
                    2 => Err("twice".into()),
                    _ => std::future::pending().await,
                }
            }
        })
        .await;
    });
    for expected in 1..=3 {
        let start = tokio::time::timeout(LONG, begun.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(start, expected);
    }
    looping.abort();
}
