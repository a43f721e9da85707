//! [`Breakers`]: the circuit breakers of this process, one for each provider and auth config, so that a
//! provider that hangs, or one partner's broken client, takes no slots from the others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use latchkey_domain::AuthConfigId;

use crate::{Admission, Breaker, BreakerRules, BreakerState, Ticket};

/// How often, at most, breakers that know nothing are dropped when there is no room.
const SWEEP: Duration = Duration::from_secs(1);
/// Breakers kept at once (some 600 bytes each). A key beyond them is let through: a breaker is a
/// protection, not a promise.
pub const MAX_BREAKERS: usize = 10_000;

/// What a breaker is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BreakerKey {
    /// The provider's slug.
    pub provider: Arc<str>,
    /// Whose client credentials.
    pub auth_config: AuthConfigId,
}

/// The breakers of this process, one for each provider and auth config.
#[derive(Debug)]
pub struct Breakers {
    rules: BreakerRules,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    of: HashMap<BreakerKey, Breaker>,
    swept: Duration,
}

impl Breakers {
    /// No breaker yet; each starts closed.
    pub fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            kept: Mutex::default(),
        }
    }

    /// How long nothing goes out, if nothing does. Takes no probe and makes no breaker.
    pub fn peek(&self, key: &BreakerKey, now: Duration) -> Option<Duration> {
        self.kept().of.get(key)?.wait(now)
    }

    /// May a call go out at `now`?
    pub fn admit(&self, key: &BreakerKey, now: Duration) -> Admission {
        let mut kept = self.kept();
        if let Some(breaker) = kept.of.get_mut(key) {
            return breaker.admit(now);
        }
        // When every breaker is in use a sweep frees nothing, so not on every call.
        if kept.of.len() >= MAX_BREAKERS && now.saturating_sub(kept.swept) >= SWEEP {
            kept.of.retain(|_, breaker| !breaker.is_idle(now));
            kept.swept = now;
        }
        let mut breaker = Breaker::new(self.rules);
        let admission = breaker.admit(now);
        if kept.of.len() < MAX_BREAKERS {
            kept.of.insert(key.clone(), breaker);
        }
        admission
    }

    /// Takes in how a call ended.
    pub fn record(&self, key: &BreakerKey, now: Duration, ticket: Ticket, succeeded: bool) {
        if let Some(breaker) = self.kept().of.get_mut(key) {
            breaker.record(now, ticket, succeeded);
        }
    }

    /// Takes back a call that was let through and is not made.
    pub fn forgo(&self, key: &BreakerKey, now: Duration, ticket: Ticket) {
        if let Some(breaker) = self.kept().of.get_mut(key) {
            breaker.forgo(now, ticket);
        }
    }

    /// How many breakers of each provider are not closed, for the metric. A provider whose breakers are all
    /// closed is there with 0.
    pub fn not_closed(&self, now: Duration) -> BTreeMap<Arc<str>, u32> {
        let mut counts = BTreeMap::new();
        for (key, breaker) in &self.kept().of {
            let count = counts.entry(key.provider.clone()).or_insert(0);
            *count += u32::from(breaker.state(now) != BreakerState::Closed);
        }
        counts
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(1000 + secs)
    }

    fn key(provider: &str, auth_config: u128) -> BreakerKey {
        BreakerKey {
            provider: provider.into(),
            auth_config: AuthConfigId::from_u128(auth_config),
        }
    }

    fn fail(breakers: &Breakers, key: &BreakerKey, now: Duration, times: u32) {
        for _ in 0..times {
            if let Admission::Granted(ticket) = breakers.admit(key, now) {
                breakers.record(key, now, ticket, false);
            }
        }
    }

    #[test]
    fn each_provider_and_auth_config_has_its_own() {
        let breakers = Breakers::new(BreakerRules::default());
        fail(&breakers, &key("hangs", 1), at(0), 20);
        assert!(matches!(
            breakers.admit(&key("hangs", 1), at(1)),
            Admission::Refused(_)
        ));
        assert!(breakers.peek(&key("hangs", 1), at(1)).is_some());
        assert_eq!(
            breakers.peek(&key("hangs", 1), at(10)),
            None,
            "a probe may go"
        );
        assert_eq!(breakers.peek(&key("unheard of", 1), at(1)), None);
        for other in [key("hangs", 2), key("works", 1)] {
            assert!(matches!(
                breakers.admit(&other, at(1)),
                Admission::Granted(_)
            ));
        }
        let counts = breakers.not_closed(at(1));
        assert_eq!((counts["hangs"], counts["works"]), (1, 0));
    }

    #[test]
    fn breakers_are_bounded_and_open_ones_are_kept() {
        let breakers = Breakers::new(BreakerRules::default());
        fail(&breakers, &key("hangs", 0), at(0), 20);
        for n in 1..=MAX_BREAKERS as u128 {
            fail(&breakers, &key("works", n), at(0), 1);
        }
        assert_eq!(breakers.kept().of.len(), MAX_BREAKERS);
        // There was no room for the last one: it is let through without a breaker.
        fail(&breakers, &key("works", MAX_BREAKERS as u128), at(0), 100);
        // A minute later the idle ones make room; the open one stays.
        fail(&breakers, &key("works", 77_777), at(60), 1);
        assert_eq!(breakers.kept().of.len(), 2);
        assert_eq!(breakers.not_closed(at(60))["hangs"], 1);
    }
}
