//! [`Stopper`]: how a process ends. First nothing new comes in (`draining`): the API answers what it has,
//! the scheduler stops, readiness turns false. Then workers finish what runs (`finishing`). Work that must
//! not be cut, such as a token request that was sent, is tracked and awaited to the end.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The two steps of a stop, and the work that is awaited. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stopper {
    draining: CancellationToken,
    finishing: CancellationToken,
    must_finish: TaskTracker,
}

impl Stopper {
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when nothing new may begin.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when callers have their answers and workers may go.
    pub fn finishing(&self) -> &CancellationToken {
        &self.finishing
    }

    /// Whether a stop has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Begins the stop.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Lets workers go.
    pub fn finish(&self) {
        self.draining.cancel();
        self.finishing.cancel();
    }

    /// Runs work to its end even if whoever began it goes away: dropping the handle does not cancel it, and a
    /// stop waits for it.
    pub fn spawn_to_the_end<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.must_finish.spawn(work)
    }

    /// Waits for tracked work, at most this long; tells whether all of it ended.
    pub async fn wait(&self, within: Duration) -> bool {
        self.must_finish.close();
        tokio::time::timeout(within, self.must_finish.wait())
            .await
            .is_ok()
    }

    /// The result of `work`, or `None` if draining began first.
    pub async fn run_until_draining<F: Future>(&self, work: F) -> Option<F::Output> {
        self.draining.run_until_cancelled(work).await
    }

    /// Completes on SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// If the process cannot listen for signals.
    #[cfg(unix)]
    pub async fn signalled() -> std::io::Result<&'static str> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tracked_work_is_awaited_and_other_work_is_not() {
        let stopper = Stopper::new();
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        drop(stopper.spawn_to_the_end(async { drop(rx.await) }));
        assert!(!stopper.wait(Duration::from_millis(1)).await);
        tx.send(()).unwrap();
        assert!(stopper.wait(Duration::from_secs(10)).await);
        stopper.finish();
        assert!(stopper.is_draining());
        assert_eq!(
            stopper
                .run_until_draining(std::future::pending::<()>())
                .await,
            None
        );
    }
}
