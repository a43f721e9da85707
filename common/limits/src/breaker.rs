//! A circuit breaker: when at least half of at least twenty calls of the last 30 s failed, no call is let
//! through for a while; then one probe is, and its outcome decides. Pure: the clock is an argument.
//!
//! ```text
//!             ≥ 50 % of ≥ 20 in 30 s failed                 open_for is over
//!   Closed ─────────────────────────────────▶ Open ─────────────────────────▶ HalfOpen (one probe out)
//!     ▲                                         ▲                                 │
//!     │                                         └──────────── probe failed ───────┤
//!     └───────────────────────────────────────────────────── probe succeeded ─────┘
//! ```
//!
//! What counts as a failure is the caller's to say: time-outs, connections that fail, 5xx. A 4xx is an
//! answer. A call that ends after the breaker moved on says nothing about the provider now, so its outcome
//! is dropped.

use std::time::Duration;

/// Slots of the sliding window.
const SLOTS: usize = 30;
/// When a breaker opens and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// How far back calls count.
    pub window: Duration,
    /// With fewer calls in the window, nothing is concluded.
    pub min_calls: u32,
    /// Opens at this share of failures, in percent.
    pub failure_percent: u32,
    /// How long nothing is let through before a probe.
    pub open_for: Duration,
    /// A probe that said nothing for this long is given up for another: twice the longest provider
    /// time-out.
    pub probe_for: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_calls: 20,
            failure_percent: 50,
            open_for: Duration::from_secs(10),
            probe_for: Duration::from_secs(60),
        }
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// None do.
    Open,
    /// One probe is out, or the next call is one.
    HalfOpen,
}

/// Handed out with each call that is let through, and given back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "tell the breaker how the call ended"]
pub struct Ticket {
    // Which closed or half-open spell of the breaker it belongs to.
    spell: u64,
}

/// Whether a call may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes; give the ticket back with the outcome.
    Granted(Ticket),
    /// No; ask again after this long.
    Refused(Duration),
}

/// One breaker. Times are monotonic, from [`latchkey_domain::Clock::monotonic`].
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: BreakerRules,
    state: State,
    // Grows with each change of state, so that late outcomes are known as such.
    spell: u64,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { probe_until: Duration },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            state: State::Closed,
            spell: 0,
            window: Window::new(rules.window),
        }
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Duration) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long it lets nothing through, if it does not.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until } | State::HalfOpen { probe_until: until } => {
                (now < until).then(|| until.saturating_sub(now))
            }
        }
    }

    /// May a call go out at `now`?
    pub fn admit(&mut self, now: Duration) -> Admission {
        if let Some(wait) = self.wait(now) {
            return Admission::Refused(wait);
        }
        if !matches!(self.state, State::Closed) {
            self.enter(State::HalfOpen {
                probe_until: now + self.rules.probe_for,
            });
        }
        Admission::Granted(Ticket { spell: self.spell })
    }

    /// Takes in how a call ended.
    pub fn record(&mut self, now: Duration, ticket: Ticket, succeeded: bool) {
        if ticket.spell != self.spell {
            return;
        }
        let open = State::Open {
            until: now + self.rules.open_for,
        };
        match self.state {
            State::Closed => {
                let (calls, failures) = self.window.add(now, succeeded);
                let share = u64::from(calls) * u64::from(self.rules.failure_percent);
                if calls >= self.rules.min_calls && u64::from(failures) * 100 >= share {
                    self.enter(open);
                }
            }
            State::HalfOpen { .. } if succeeded => self.enter(State::Closed),
            State::HalfOpen { .. } => self.enter(open),
            // No ticket of an open spell was handed out.
            State::Open { .. } => {}
        }
    }

    /// Takes back a call that was let through and is not made: a probe may be another's.
    pub fn forgo(&mut self, now: Duration, ticket: Ticket) {
        if ticket.spell == self.spell && matches!(self.state, State::HalfOpen { .. }) {
            self.enter(State::Open { until: now });
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.spell += 1;
        self.window = Window::new(self.rules.window);
    }

    /// Whether it knows nothing that a new one would not.
    pub(crate) fn is_idle(&self, now: Duration) -> bool {
        matches!(self.state, State::Closed) && self.window.counts(now).0 == 0
    }
}

/// Calls and failures of the last while, in slots.
#[derive(Clone, Debug)]
struct Window {
    slot: Duration,
    // (which slot since the clock's zero, calls, failures)
    slots: [(u64, u32, u32); SLOTS],
}

impl Window {
    fn new(length: Duration) -> Self {
        let slots = u32::try_from(SLOTS).unwrap_or(u32::MAX);
        Self {
            slot: (length / slots).max(Duration::from_nanos(1)),
            slots: [(0, 0, 0); SLOTS],
        }
    }

    fn index(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos() / self.slot.as_nanos()).unwrap_or(u64::MAX)
    }

    fn add(&mut self, now: Duration, succeeded: bool) -> (u32, u32) {
        let index = self.index(now);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the remainder is below SLOTS"
        )]
        let slot = &mut self.slots[(index % SLOTS as u64) as usize];
        if slot.0 != index {
            *slot = (index, 0, 0);
        }
        slot.1 = slot.1.saturating_add(1);
        slot.2 = slot.2.saturating_add(u32::from(!succeeded));
        self.counts(now)
    }

    fn counts(&self, now: Duration) -> (u32, u32) {
        let index = self.index(now);
        let fresh = |at: u64| at <= index && index - at < SLOTS as u64;
        self.slots
            .iter()
            .filter(|slot| fresh(slot.0))
            .fold((0, 0), |(calls, failures), slot| {
                (
                    calls.saturating_add(slot.1),
                    failures.saturating_add(slot.2),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(1000 + secs)
    }

    fn ticket(breaker: &mut Breaker, now: Duration) -> Ticket {
        match breaker.admit(now) {
            Admission::Granted(ticket) => ticket,
            Admission::Refused(wait) => panic!("refused for {wait:?}"),
        }
    }

    fn call(breaker: &mut Breaker, now: Duration, succeeded: bool) {
        let ticket = ticket(breaker, now);
        breaker.record(now, ticket, succeeded);
    }

    fn opened(now: Duration) -> Breaker {
        let mut breaker = Breaker::new(BreakerRules::default());
        for _ in 0..20 {
            call(&mut breaker, now, false);
        }
        assert_eq!(breaker.state(now), BreakerState::Open);
        breaker
    }

    #[test]
    fn opens_at_half_of_twenty_and_not_before() {
        for (calls, failures, state) in [
            (19, 19, BreakerState::Closed),
            (20, 9, BreakerState::Closed),
            (20, 10, BreakerState::Open),
            (100, 49, BreakerState::Closed),
            (100, 50, BreakerState::Open),
        ] {
            let mut breaker = Breaker::new(BreakerRules::default());
            // Successes first, so that the share only grows.
            for n in 0..calls {
                call(&mut breaker, at(n / 10), n < calls - failures);
            }
            assert_eq!(breaker.state(at(10)), state, "{failures} of {calls}");
        }
    }

    #[test]
    fn failures_are_forgotten_after_the_window() {
        let mut breaker = Breaker::new(BreakerRules::default());
        for _ in 0..19 {
            call(&mut breaker, at(0), false);
        }
        // The nineteen have left the window: this is one failure of one call.
        call(&mut breaker, at(30), false);
        assert_eq!(breaker.state(at(30)), BreakerState::Closed);
        // A slow drip of failures, fewer than twenty in any window, never opens it.
        for n in 0..200 {
            call(&mut breaker, at(100 + 2 * n), false);
        }
        assert_eq!(breaker.state(at(500)), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_was_not_sent_is_anothers() {
        let mut breaker = opened(at(0));
        let unsent = ticket(&mut breaker, at(10));
        assert!(matches!(breaker.admit(at(11)), Admission::Refused(_)));
        breaker.forgo(at(11), unsent);
        let probe = ticket(&mut breaker, at(11));
        // Neither the one that was taken back nor one of a closed breaker says anything.
        breaker.record(at(12), unsent, true);
        assert_eq!(breaker.state(at(12)), BreakerState::HalfOpen);
        breaker.record(at(12), probe, true);
        let call = ticket(&mut breaker, at(13));
        breaker.forgo(at(13), call);
        assert_eq!(breaker.state(at(13)), BreakerState::Closed);
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = opened(at(0));
        assert_eq!(breaker.admit(at(4)), Admission::Refused(6 * SECOND));
        assert_eq!(breaker.state(at(10)), BreakerState::HalfOpen);
        let probe = ticket(&mut breaker, at(10));
        assert_eq!(breaker.admit(at(11)), Admission::Refused(59 * SECOND));
        breaker.record(at(12), probe, false);
        assert_eq!(breaker.admit(at(12)), Admission::Refused(10 * SECOND));
        let probe = ticket(&mut breaker, at(22));
        breaker.record(at(23), probe, true);
        assert_eq!(breaker.state(at(23)), BreakerState::Closed);
        // It starts afresh: the old failures are not held against it.
        call(&mut breaker, at(23), false);
        assert_eq!(breaker.state(at(23)), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_says_nothing_is_replaced() {
        let mut breaker = opened(at(0));
        let lost = ticket(&mut breaker, at(10));
        assert_eq!(breaker.admit(at(69)), Admission::Refused(SECOND));
        let second = ticket(&mut breaker, at(70));
        // The first comes back after all: no longer asked.
        breaker.record(at(71), lost, true);
        assert_eq!(breaker.state(at(71)), BreakerState::HalfOpen);
        breaker.record(at(72), second, true);
        assert_eq!(breaker.state(at(72)), BreakerState::Closed);
    }

    #[test]
    fn outcomes_from_before_do_not_count() {
        let mut breaker = Breaker::new(BreakerRules::default());
        let old: Vec<_> = (0..30).map(|_| ticket(&mut breaker, at(0))).collect();
        for ticket in &old[..20] {
            breaker.record(at(1), *ticket, false);
        }
        assert_eq!(breaker.state(at(1)), BreakerState::Open);
        // Neither do late failures keep it open longer, nor does a late success close it.
        breaker.record(at(8), old[20], false);
        assert_eq!(breaker.admit(at(8)), Admission::Refused(3 * SECOND));
        let probe = ticket(&mut breaker, at(11));
        breaker.record(at(12), old[21], true);
        assert_eq!(breaker.state(at(12)), BreakerState::HalfOpen);
        breaker.record(at(12), probe, true);
        for ticket in &old[22..] {
            breaker.record(at(13), *ticket, false);
        }
        assert_eq!(breaker.state(at(13)), BreakerState::Closed);
    }
}
