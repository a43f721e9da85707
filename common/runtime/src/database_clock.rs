//! [`DatabaseClock`]: one time for all processes of a fleet. Clocks of machines may be minutes apart, and one may
//! jump; what processes write into rows and read from them (when a job may run, when a caller waits no more) must
//! mean the same everywhere. So wall time is the database's, asked for every [`SYNC`] and carried on by this
//! machine's monotonic clock, which never jumps. It is never ahead of the database, by which claims are made.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::{Clock, Timestamp};
use latchkey_store::{Store, StoreError};
use latchkey_telemetry::Chain;

/// How often the database is asked: a jump of its clock is followed within this.
const SYNC: Duration = Duration::from_secs(2);
/// An answer that took longer than this says little; it counts only if it shows that the clock is wrong.
const PROMPT: Duration = Duration::from_millis(50);

/// The database's clock, as far as it was told.
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    machine: Arc<dyn Clock>,
    /// What the database said, and the monotonic time when the answer came.
    said: Mutex<Option<(Timestamp, Duration)>>,
}

impl DatabaseClock {
    /// A clock that shows the machine's time until it is told the database's.
    pub(crate) fn new(machine: Arc<dyn Clock>) -> Self {
        Self {
            machine,
            said: Mutex::new(None),
        }
    }

    /// Asks the database now, and again and again until the store is closed.
    ///
    /// # Errors
    /// If the first answer does not come.
    pub(crate) async fn follow(self: Arc<Self>, store: Store) -> Result<(), StoreError> {
        self.ask(&store).await?;
        tokio::spawn(async move { self.keep_asking(&store).await });
        Ok(())
    }

    async fn ask(&self, store: &Store) -> Result<(), StoreError> {
        let before = self.machine.monotonic();
        let said = store.db_now().await?;
        let after = self.machine.monotonic();
        self.hear(said, before, after);
        Ok(())
    }

    async fn keep_asking(&self, store: &Store) {
        while !store.is_closed() {
            tokio::time::sleep(SYNC).await;
            if let Err(error) = self.ask(store).await {
                // The machine's own carries it on.
                tracing::debug!(error = %Chain(&error), "the database's time was not read");
            }
        }
    }

    fn hear(&self, said: Timestamp, before: Duration, after: Duration) {
        let took = after.saturating_sub(before);
        let shown = self.at(after);
        let is_possible = said <= shown && shown <= said + took;
        if took <= PROMPT || !is_possible {
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((said, after));
        }
    }

    /// What it shows at this monotonic time.
    fn at(&self, monotonic: Duration) -> Timestamp {
        match *self.said.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((said, when)) => said + monotonic.saturating_sub(when),
            None => self.machine.now(),
        }
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        self.at(self.machine.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use latchkey_domain::ManualClock;

    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn it_shows_the_databases_time_whatever_the_machine_shows() {
        let machine = Arc::new(ManualClock::new(T0 + secs(120)));
        let clock = DatabaseClock::new(machine.clone());
        assert_eq!(clock.now(), T0 + secs(120));
        let at = machine.monotonic();
        clock.hear(T0, at, at);
        assert_eq!(clock.now(), T0);
        machine.set_wall(T0 + secs(3600));
        machine.advance(secs(1));
        assert_eq!(clock.now(), T0 + secs(1));
    }

    #[test]
    fn it_is_never_ahead_and_slow_answers_do_not_pull_it_back() {
        let machine = Arc::new(ManualClock::new(T0));
        let clock = DatabaseClock::new(machine.clone());
        let before = machine.monotonic();
        machine.advance(Duration::from_millis(10));
        clock.hear(T0, before, machine.monotonic());
        // When the answer came, the database showed at least what it had said.
        assert_eq!(clock.now(), T0);
        let asked = machine.monotonic();
        machine.advance(secs(5));
        clock.hear(T0, asked, machine.monotonic());
        assert_eq!(clock.now(), T0 + secs(5));
        // But it follows a jump, however slow the answer.
        clock.hear(T0 + secs(3600), asked, machine.monotonic());
        assert_eq!(clock.now(), T0 + secs(3600));
    }
}
