//! [`Turns`]: when calls that wait for their partner's rate may come, one after the other at that rate, so that
//! each is sent to a worker about once however many wait (`architecture.md` §7). A hint: the permit decides.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::{PartnerId, plan::Plan};

use crate::governor::MINUTE;

/// Partners whose last turn is remembered before past ones are dropped; 32 bytes each.
const PARTNERS_MAX: usize = 100_000;

/// The last turn that was given away, by partner, in monotonic time.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<PartnerId, Duration>>);

/// The time between two turns.
pub(crate) fn spacing(plan: &Plan) -> Duration {
    MINUTE / plan.calls_per_minute.max(1)
}

impl Turns {
    /// How long until the next turn that nobody has, `least` at the soonest.
    pub(crate) fn next(
        &self,
        partner: PartnerId,
        plan: &Plan,
        least: Duration,
        now: Duration,
    ) -> Duration {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= PARTNERS_MAX {
            last.retain(|_, at| *at > now);
        }
        let first = now + least;
        let turn = last
            .get(&partner)
            .map_or(first, |at| first.max(*at + spacing(plan)));
        if last.len() < PARTNERS_MAX || last.contains_key(&partner) {
            last.insert(partner, turn);
        }
        turn.saturating_sub(now)
    }
}
