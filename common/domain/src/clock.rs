//! [`Clock`]: where time comes from. Production reads the system; tests hold a [`ManualClock`] and move it.

use std::{
    fmt::Debug,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::Timestamp;

/// A source of wall time and of time that never goes back.
pub trait Clock: Debug + Send + Sync {
    /// Wall time: for what is stored and shown.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this machine, never going back and counting through suspend: for
    /// leases and durations (`architecture.md` §6.2 asks for "suspend included").
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where wall time enters")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        // On the BSDs and macOS CLOCK_MONOTONIC counts through suspend or there is nothing that does.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let at = rustix::time::clock_gettime(id);
        Duration::new(
            u64::try_from(at.tv_sec).unwrap_or(0),
            u32::try_from(at.tv_nsec).unwrap_or(0),
        )
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self {
            state: Mutex::new((start, Duration::from_secs(1))),
        }
    }

    /// Moves both wall and monotonic time ahead.
    pub fn advance(&self, span: Duration) {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.0 = state.0 + span;
        state.1 += span;
    }

    /// Sets wall time alone, as an operator or NTP would.
    pub fn set_wall(&self, to: Timestamp) {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0 = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
    }

    fn monotonic(&self) -> Duration {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_forward() {
        let (a, b) = (SystemClock.monotonic(), SystemClock.monotonic());
        assert!(b >= a);
        assert!(SystemClock.now() > Timestamp::from_secs(1_700_000_000));
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::new(Timestamp::from_secs(100));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_secs(105));
        clock.set_wall(Timestamp::from_secs(1));
        assert_eq!(clock.monotonic(), Duration::from_secs(6));
    }
}
