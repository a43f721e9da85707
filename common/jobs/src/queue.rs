//! [`Queue`]: what carries jobs to workers, whichever engine is behind it.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::job::{Job, Urgency};

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The gate is closed: the queue holds as many entries or bytes as it may. Durable work stays in its
    /// row and is pushed later; a waiting caller is told to come back.
    #[error("the {} queue is full ({entries} entries)", urgency.as_str())]
    Full {
        /// Which queue.
        urgency: Urgency,
        /// How many it holds.
        entries: usize,
    },
    /// The queue cannot be reached.
    #[error("the queue cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What ended a worker loop.
#[derive(Debug, thiserror::Error)]
#[error("worker '{worker}' stopped")]
pub struct QueueError {
    /// Its name.
    pub worker: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Jobs that no worker has fetched yet.
    pub entries: usize,
    /// Their weight in bytes.
    pub bytes: usize,
    /// How long the oldest has waited.
    pub oldest: Duration,
}

/// How a worker loop runs.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// A name that is new at every start (`queue.md` §3.11).
    pub name: String,
    /// Jobs at work at once.
    pub concurrency: usize,
}

/// What runs a fetched job to its end, whatever that end is. Cheap to clone.
#[derive(Clone)]
pub struct Execute(Arc<dyn Fn(Job) -> BoxFuture<'static, ()> + Send + Sync>);

impl Execute {
    /// From a function. The future must not panic; the runner turns panics into outcomes.
    pub fn new<F>(run: F) -> Self
    where
        F: Fn(Job) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    {
        Self(Arc::new(run))
    }

    /// Runs one job.
    pub fn run(&self, job: Job) -> BoxFuture<'static, ()> {
        (self.0)(job)
    }
}

impl fmt::Debug for Execute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Execute")
    }
}

/// Carries jobs to workers. At least once: a job may arrive twice, or not at all if the process or the
/// queue's server dies; rows and their reconciler make up for both.
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Hands a job over.
    ///
    /// # Errors
    /// [`PushError::Full`] at once when the gate is closed; it never waits for room.
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), PushError>>;

    /// How full one queue is.
    fn depth(&self, urgency: Urgency) -> BoxFuture<'_, Result<Depth, PushError>>;

    /// A text that changes when the queue lost, or may have lost, what it held while this process lived on:
    /// who remembers it knows when everything that waits must be pushed again. `None` for a queue that lives
    /// and dies with its process.
    fn epoch(&self) -> BoxFuture<'_, Result<Option<String>, PushError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Fetches and runs jobs of one urgency until `stop`; then fetches no more, finishes what runs, and
    /// returns.
    fn run(
        &self,
        urgency: Urgency,
        options: RunOptions,
        execute: Execute,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), QueueError>>;
}
