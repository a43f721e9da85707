//! [`Flights`]: callers of this process that want one grant refreshed share one attempt and its outcome.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use latchkey_domain::GrantId;
use latchkey_runtime::Stopper;

/// The outcome of a flight, for as many as wait for it.
pub(super) type Flight<T> = Shared<BoxFuture<'static, Arc<T>>>;

/// The attempts under way in this process, by grant.
#[derive(Debug)]
pub(super) struct Flights<T> {
    by_grant: Arc<Mutex<HashMap<GrantId, Flight<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self {
            by_grant: Arc::default(),
        }
    }
}

impl<T: Send + Sync + 'static> Flights<T> {
    /// Joins the grant's flight, or begins `work` as one. It goes on to its end whether or not anybody
    /// waits. `crashed` is its outcome should it panic.
    pub(super) fn join_or_begin<W>(
        &self,
        grant: GrantId,
        stopper: &Stopper,
        work: impl FnOnce() -> W,
        crashed: fn() -> T,
    ) -> Flight<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut flights = lock(&self.by_grant);
        if let Some(flight) = flights.get(&grant) {
            return flight.clone();
        }
        let landed = Landed {
            flights: Arc::clone(&self.by_grant),
            grant,
        };
        // Boxed: the task would hold it twice, as what it begins with and as what it waits for, and thousands fly at once.
        let work = Box::pin(work());
        let task = stopper.spawn_to_the_end(async move {
            // Taken out of the map before anybody learns the outcome, also by a panic: who comes then begins
            // anew, on the row as it is by then.
            let _landed = landed;
            work.await
        });
        let flight = task
            .map(move |ended| Arc::new(ended.unwrap_or_else(|_| crashed())))
            .boxed()
            .shared();
        flights.insert(grant, flight.clone());
        flight
    }
}

struct Landed<T> {
    flights: Arc<Mutex<HashMap<GrantId, Flight<T>>>>,
    grant: GrantId,
}

impl<T> Drop for Landed<T> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.grant);
    }
}

fn lock<T>(
    flights: &Mutex<HashMap<GrantId, Flight<T>>>,
) -> MutexGuard<'_, HashMap<GrantId, Flight<T>>> {
    // Every change is one insert or remove.
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const GRANT: GrantId = GrantId::from_u128(1);

    #[tokio::test]
    async fn many_share_one_and_the_next_begins_anew() {
        let (flights, stopper, runs) = (
            Flights::default(),
            Stopper::new(),
            Arc::new(AtomicU32::new(0)),
        );
        let begin = || {
            let runs = Arc::clone(&runs);
            flights.join_or_begin(
                GRANT,
                &stopper,
                || async move {
                    tokio::task::yield_now().await;
                    runs.fetch_add(1, Ordering::SeqCst) + 1
                },
                || 0,
            )
        };
        let first: Vec<_> = (0..50).map(|_| begin()).collect();
        drop(first[0].clone());
        for outcome in futures::future::join_all(first).await {
            assert_eq!(*outcome, 1);
        }
        assert_eq!(*begin().await, 2);
    }

    #[tokio::test]
    async fn a_panic_ends_the_flight_and_not_its_successor() {
        let (flights, stopper) = (Flights::default(), Stopper::new());
        let fly = |good: bool| {
            let work = || async move {
                assert!(good, "the test's panic");
                1
            };
            flights.join_or_begin(GRANT, &stopper, work, || 7)
        };
        assert_eq!(*fly(false).await, 7);
        assert_eq!(*fly(true).await, 1);
    }
}
