//! [`Paces`]: the budgets that providers publish, kept before a provider has to say "too often". What it says of
//! them in its answers is in [`crate::Budgets`].
//!
//! A budget is a generic cell rate: a quarter of it may go at once, the rest evenly, and over no span of its
//! length more than it allows. These are kept in one process; a fleet's are in `redis/scripts.rs`, by the same sums.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::Timestamp;

use crate::BudgetKey;

/// Budgets that are kept to, at most; some 100 bytes each. Beyond them the provider itself refuses.
const MOST: usize = 50_000;
/// What part of a budget may go at once.
const AT_ONCE: u64 = 4;

/// So many requests in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The requests.
    pub requests: u64,
    /// The time.
    pub per: Duration,
}

/// One budget of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PaceKey {
    /// Whose.
    pub whose: BudgetKey,
    /// Which of the provider's, by its place in the entry.
    pub nth: usize,
    /// For which endpoint, where each has its own.
    pub endpoint: Option<String>,
}

/// The budgets of this process, each as the time by which all that was taken from it is earned.
#[derive(Debug, Default)]
pub struct Paces(Mutex<HashMap<PaceKey, Timestamp>>);

impl Allowance {
    /// What may go at once.
    const fn burst(self) -> u64 {
        self.requests.div_ceil(AT_ONCE)
    }

    /// The time that earns one request: with it, burst and all that is earned in `per` are no more than `requests`.
    pub(crate) fn interval(self) -> Duration {
        let steps = self.requests.saturating_sub(self.burst()).saturating_add(1);
        let micros = self.per.as_micros().div_ceil(u128::from(steps));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How far what was taken may be ahead of what was earned.
    pub(crate) fn room(self) -> Duration {
        let ahead = u32::try_from(self.burst().saturating_sub(1)).unwrap_or(u32::MAX);
        self.interval().saturating_mul(ahead)
    }

    /// How long after `now` the next request may go.
    fn wait(self, earned_by: Timestamp, now: Timestamp) -> Duration {
        now.until(earned_by).saturating_sub(self.room())
    }
}

impl Paces {
    /// Takes a request from each of these budgets; or from none, and tells how long until each has one.
    pub fn take(&self, asked: &[(PaceKey, Allowance)], now: Timestamp) -> Option<Duration> {
        if asked.is_empty() {
            return None;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = asked.iter().filter_map(|(key, allowance)| {
            let wait = allowance.wait(*kept.get(key)?, now);
            (!wait.is_zero()).then_some(wait)
        });
        if let Some(wait) = wait.max() {
            return Some(wait);
        }
        if kept.len() + asked.len() > MOST {
            kept.retain(|_, earned_by| *earned_by > now);
        }
        for (key, allowance) in asked {
            let earned_by = kept.get(key).copied().unwrap_or(now).max(now) + allowance.interval();
            if kept.len() < MOST || kept.contains_key(key) {
                kept.insert(key.clone(), earned_by);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use latchkey_domain::ConnectionId;

    use super::*;

    fn key(user: u128, nth: usize) -> PaceKey {
        PaceKey {
            whose: BudgetKey::User(ConnectionId::from_u128(user)),
            nth,
            endpoint: None,
        }
    }

    const fn allowance(requests: u64, per_s: u64) -> Allowance {
        Allowance {
            requests,
            per: Duration::from_secs(per_s),
        }
    }

    /// When requests went of somebody who asks forty times for each that is allowed, over ten spans.
    fn greedy(of: Allowance) -> Vec<Timestamp> {
        let (paces, start) = (Paces::default(), Timestamp::from_secs(1_000));
        let step = of.interval() / 40;
        let mut sent = Vec::new();
        let mut now = start;
        while start.until(now) < of.per * 10 {
            if paces.take(&[(key(1, 0), of)], now).is_none() {
                sent.push(now);
            }
            now = now + step;
        }
        sent
    }

    #[test]
    fn over_no_span_goes_more_than_a_budget_and_little_of_it_is_wasted() {
        for of in [
            allowance(1, 5),
            allowance(2, 1),
            allowance(3, 1),
            allowance(5, 1),
            allowance(50, 60),
            allowance(110, 10),
        ] {
            let sent = greedy(of);
            for (nth, first) in sent.iter().enumerate() {
                let span = sent[nth..].iter();
                let within = span.take_while(|at| first.until(**at) < of.per).count();
                assert!(within as u64 <= of.requests, "{of:?}: {within}");
            }
            // Three quarters are earned, and what goes at once comes once.
            let least = of.requests * 10 * 2 / 3;
            assert!(sent.len() as u64 >= least, "{of:?}: {}", sent.len());
        }
    }

    #[test]
    fn a_refusal_takes_nothing_and_its_wait_is_enough() {
        let (paces, now) = (Paces::default(), Timestamp::from_secs(1_000));
        let (slow, fast) = (allowance(1, 60), allowance(100, 1));
        let both = [(key(1, 0), slow), (key(1, 1), fast)];
        assert_eq!(paces.take(&both, now), None);
        let wait = paces.take(&both, now).expect("the slow one is used up");
        assert_eq!(wait, Duration::from_secs(60));
        for _ in 0..23 {
            assert_eq!(paces.take(&both[1..], now), None);
        }
        // A refusal took nothing of the fast one: 24 more at once, one of them with the slow one.
        assert_eq!(paces.take(&both[1..], now), None);
        assert!(paces.take(&both[1..], now).is_some());
        assert_eq!(paces.take(&both, now + wait), None);
        // Somebody else's is untouched.
        assert_eq!(paces.take(&[(key(2, 0), slow)], now), None);
    }
}
