//! The in-process engine passes the suite.

use std::sync::Arc;

use latchkey_domain::SystemClock;
use latchkey_jobs::{MemoryQueue, MemoryReplies, MemorySignals, Queue, conformance, memory};

fn queue() -> Arc<dyn Queue> {
    Arc::new(MemoryQueue::new(Arc::new(SystemClock)))
}

#[tokio::test]
async fn runs_what_is_pushed() {
    conformance::runs_what_is_pushed(queue()).await;
}

#[tokio::test]
async fn stops_gracefully() {
    conformance::stops_gracefully(queue()).await;
}

#[tokio::test]
async fn is_bounded() {
    conformance::is_bounded(queue(), memory::MAX_ENTRIES).await;
}

#[tokio::test]
async fn replies_arrive() {
    conformance::replies_arrive(Arc::new(MemoryReplies::default())).await;
}

#[tokio::test]
async fn signals_wake() {
    conformance::signals_wake(Arc::new(MemorySignals::default())).await;
}
