//! What every queue, reply channel and signal must do. Each engine's tests call these with its own.

#![expect(
    clippy::unwrap_used,
    reason = "a suite that tests call: a failure is a panic"
)]
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use latchkey_domain::{GrantId, JobId, PartnerId, ReplyId, SessionId, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    Execute, Job, JobKind, PushError, Queue, Replies, RunOptions, Signals, Urgency,
    kinds::{ExchangeCode, RefreshGrants},
};

const LONG: Duration = Duration::from_secs(20);

fn exchange(n: u128) -> Job {
    let kind = ExchangeCode {
        session: SessionId::from_u128(n),
    };
    Job::new(
        JobId::from_u128(n),
        PartnerId::from_u128(1),
        &kind,
        Timestamp::from_secs(1),
    )
    .unwrap()
}

fn options(name: &str, concurrency: usize) -> RunOptions {
    RunOptions {
        name: name.to_owned(),
        concurrency,
    }
}

/// Every job that was pushed runs, in order of arrival on one slot, and only in its own lane.
pub async fn runs_what_is_pushed(queue: Arc<dyn Queue>) {
    let (tx, mut rx) = mpsc::unbounded_channel();
    let execute = Execute::new(move |job| {
        let tx = tx.clone();
        async move { tx.send(job).unwrap() }.boxed()
    });
    let stop = CancellationToken::new();
    for n in 1..=20 {
        queue.push(exchange(n)).await.unwrap();
    }
    let other = RefreshGrants {
        grants: vec![(PartnerId::from_u128(1), GrantId::from_u128(1))],
        asked: false,
    };
    let other = Job::new(
        JobId::from_u128(99),
        PartnerId::from_u128(1),
        &other,
        Timestamp::from_secs(1),
    );
    queue.push(other.unwrap()).await.unwrap();
    let run = tokio::spawn(queue.run(
        Urgency::Interactive,
        options("in-order", 1),
        execute,
        stop.clone(),
    ));
    for n in 1..=20 {
        let job = tokio::time::timeout(LONG, rx.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.id, JobId::from_u128(n));
        assert_eq!(job.kind, ExchangeCode::KIND);
        assert_eq!(
            job.payload::<ExchangeCode>().unwrap().session,
            SessionId::from_u128(n)
        );
        assert!(job.payload::<RefreshGrants>().is_err());
    }
    // A job that comes while the worker is idle wakes it.
    queue.push(exchange(21)).await.unwrap();
    assert_eq!(
        tokio::time::timeout(LONG, rx.recv())
            .await
            .unwrap()
            .unwrap()
            .id,
        JobId::from_u128(21)
    );
    stop.cancel();
    run.await.unwrap().unwrap();
    assert_eq!(queue.depth(Urgency::Refresh).await.unwrap().entries, 1);
}

/// No more than the concurrency run at once; a stop lets them finish and fetches no more.
pub async fn stops_gracefully(queue: Arc<dyn Queue>) {
    let (started, mut starts) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let (ended, mut ends) = mpsc::unbounded_channel();
    let open = Arc::clone(&gate);
    let execute = Execute::new(move |job| {
        let (started, ended, open) = (started.clone(), ended.clone(), Arc::clone(&open));
        async move {
            started.send(job.id).unwrap();
            open.acquire().await.unwrap().forget();
            ended.send(job.id).unwrap();
        }
        .boxed()
    });
    let stop = CancellationToken::new();
    for n in 1..=10 {
        queue.push(exchange(n)).await.unwrap();
    }
    let run = tokio::spawn(queue.run(
        Urgency::Interactive,
        options("stops", 3),
        execute,
        stop.clone(),
    ));
    for _ in 0..3 {
        tokio::time::timeout(LONG, starts.recv())
            .await
            .unwrap()
            .unwrap();
    }
    assert!(starts.try_recv().is_err(), "more than three ran at once");
    stop.cancel();
    gate.add_permits(3);
    tokio::time::timeout(LONG, run)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let mut finished = 0;
    while ends.try_recv().is_ok() {
        finished += 1;
    }
    assert_eq!(finished, 3, "what ran was finished, and nothing else began");
    // What was not begun is still there for the next worker (a fetched but unstarted one may be redelivered
    // by its row instead).
    assert!(queue.depth(Urgency::Interactive).await.unwrap().entries >= 6);
}

/// The gate closes at its bound with a clear error, and opens again.
pub async fn is_bounded(queue: Arc<dyn Queue>, bound: usize) {
    for n in 0..bound {
        queue.push(exchange(n as u128)).await.unwrap();
    }
    match queue.push(exchange(1)).await {
        Err(PushError::Full {
            entries,
            urgency: Urgency::Interactive,
        }) => assert_eq!(entries, bound),
        other => panic!("expected a full queue, got {other:?}"),
    }
    assert_eq!(
        queue.depth(Urgency::Interactive).await.unwrap().entries,
        bound
    );
}

/// An answer finds the caller that listens, awaited yet or not; a caller without one is let go.
pub async fn replies_arrive(replies: Arc<dyn Replies>) {
    let id = ReplyId::from_u128;
    let listening = replies.wait(id(1), LONG);
    replies.send(id(1), Bytes::from_static(b"early")).await;
    assert_eq!(listening.await.unwrap(), "early");
    let waiting = tokio::spawn(replies.wait(id(2), LONG));
    tokio::task::yield_now().await;
    replies.send(id(2), Bytes::from_static(b"late")).await;
    assert_eq!(waiting.await.unwrap().unwrap(), "late");
    assert_eq!(replies.wait(id(3), Duration::from_millis(1)).await, None);
}

/// A wake-up reaches everyone who subscribed before it, waiting or not, and nobody else.
pub async fn signals_wake(signals: Arc<dyn Signals>) {
    let (first, second, other) = (
        signals.subscribe(7),
        signals.subscribe(7),
        signals.subscribe(8),
    );
    signals.publish(7).await;
    assert!(first.wait(LONG).await && second.wait(LONG).await);
    assert!(!other.wait(Duration::from_millis(1)).await);
    assert!(
        !signals.subscribe(7).wait(Duration::from_millis(1)).await,
        "old news wakes nobody"
    );
}
