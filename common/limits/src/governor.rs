//! [`PlanBuckets`]: plan limits on one machine, by governor's GCRA (a virtual queue that drains at the
//! plan's rate; a call is refused when it would queue longer than the burst). Each partner has one bucket,
//! rebuilt when its plan changes with what it had used carried over.

use std::{
    collections::HashMap,
    convert::Infallible,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock as GovernorClock,
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};
use latchkey_domain::{Clock, PartnerId, plan::Plan};

use crate::{Permit, Refused, Turn, turns::Turns};

/// Buckets kept at once (some 200 bytes each). Only partners that called within the time their bucket needs
/// to fill up again count; beyond this many of them, further ones are told to come back.
pub const MAX_BUCKETS: usize = 100_000;
/// How often buckets that are full again, and so say nothing, are dropped.
const SWEEP: Duration = Duration::from_secs(60);
/// When a partner without a bucket may come back if there is no room for one.
const NO_ROOM: Duration = Duration::from_secs(1);
/// The longest a bucket may take to fill: governor counts nanoseconds in 64 bits and multiplies without a
/// check, and this many times two fit. No real plan comes near it.
pub(crate) const LONGEST_FILL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Plan limits kept in this process.
#[derive(Debug)]
pub(crate) struct PlanBuckets {
    clock: Arc<dyn Clock>,
    buckets: Mutex<Buckets>,
    turns: Turns,
    max: usize,
}

#[derive(Debug)]
struct Buckets {
    of: HashMap<PartnerId, Bucket>,
    swept: Duration,
}

impl PlanBuckets {
    /// Limits that count by this clock's monotonic time.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_room_for(MAX_BUCKETS, clock)
    }

    fn with_room_for(max: usize, clock: Arc<dyn Clock>) -> Self {
        let buckets = Mutex::new(Buckets {
            of: HashMap::new(),
            swept: clock.monotonic(),
        });
        Self {
            clock,
            buckets,
            turns: Turns::default(),
            max,
        }
    }

    /// See [`crate::CallLimits::turn`].
    pub(crate) fn turn(&self, partner: PartnerId, plan: &Plan) -> Turn {
        let permit = self.ask(partner, plan, Access::Look);
        let now = self.clock.monotonic();
        let wait = self.turns.next(partner, plan, permit.retry_after, now);
        Turn { permit, wait }
    }

    /// What a partner may do now, taken or only looked at.
    pub(crate) fn ask(&self, partner: PartnerId, plan: &Plan, access: Access) -> Permit {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        self.ask_in(&mut buckets, partner, plan, access)
    }

    /// Takes a permit, if there is one and `also` has no reason to wait. It is asked between looking and taking, and
    /// nobody takes the permit meanwhile.
    pub(crate) fn take_if(
        &self,
        partner: PartnerId,
        plan: &Plan,
        also: impl FnOnce() -> Option<Duration>,
    ) -> Result<Permit, Refused> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.ask_in(&mut buckets, partner, plan, Access::Look);
        if !seen.allowed {
            return Err(Refused::Plan(seen));
        }
        if let Some(wait) = also() {
            return Err(Refused::Provider(wait));
        }
        // What was seen is still there: the lock was held, and time only adds to it.
        Ok(self.ask_in(&mut buckets, partner, plan, Access::Take))
    }

    fn ask_in(
        &self,
        buckets: &mut Buckets,
        partner: PartnerId,
        plan: &Plan,
        access: Access,
    ) -> Permit {
        let refused = |retry_after| Permit::refused(plan.calls_per_minute, retry_after);
        let Some(rate) = NonZeroU32::new(plan.calls_per_minute) else {
            return refused(MINUTE);
        };
        let quota = quota(rate, plan.burst());
        buckets.sweep(self.clock.monotonic(), self.max);
        // Looking keeps nothing: no bucket of a partner that does not call, no change of plan.
        let bucket = match buckets.of.get(&partner) {
            Some(known) if known.quota == quota => return known.ask(access, rate),
            Some(known) => known.rebuilt(quota, &self.clock),
            None if buckets.of.len() >= self.max => return refused(NO_ROOM),
            None => Bucket::new(quota, &self.clock),
        };
        let permit = bucket.ask(access, rate);
        if access == Access::Take {
            buckets.of.insert(partner, bucket);
        }
        permit
    }
}

impl Buckets {
    /// Drops buckets that are full again: each minute, or when there is no room.
    fn sweep(&mut self, now: Duration, max: usize) {
        let waited = now.saturating_sub(self.swept);
        // When every bucket is in use a sweep frees nothing, so not on every call.
        if waited >= SWEEP || (self.of.len() >= max && waited >= NO_ROOM) {
            self.of.retain(|_, bucket| !bucket.is_full());
            self.swept = now;
        }
    }
}

/// Rate and burst as governor wants them. The interval is rounded up: never faster than the plan.
fn quota(rate: NonZeroU32, burst: u32) -> Quota {
    let interval = u64::try_from(MINUTE.as_nanos())
        .unwrap_or(u64::MAX)
        .div_ceil(u64::from(rate.get()));
    let most = u64::try_from(LONGEST_FILL.as_nanos()).unwrap_or(u64::MAX) / interval;
    let burst = u32::try_from(most).map_or(burst, |most| burst.min(most));
    Quota::with_period(Duration::from_nanos(interval))
        // A minute divided by a u32 and rounded up is at least 14 ns.
        .expect("the interval is not zero")
        .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
}

/// One partner's bucket.
#[derive(Debug)]
struct Bucket {
    quota: Quota,
    limiter: RateLimiter<Access, Peekable, Monotonic, StateInformationMiddleware>,
}

impl Bucket {
    fn new(quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let limiter = RateLimiter::new(quota, Peekable::default(), Monotonic(clock.clone()));
        Self { quota, limiter }
    }

    /// A bucket for another quota in which as many calls are used as in this one.
    fn rebuilt(&self, quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let next = Self::new(quota, clock);
        let used = self.quota.burst_size().get() - self.free().unwrap_or(0);
        if let Some(used) = NonZeroU32::new(used.min(quota.burst_size().get())) {
            // An empty bucket has room for up to its burst.
            let _ = next.limiter.check_key_n(&Access::Take, used);
        }
        next
    }

    fn ask(&self, access: Access, rate: NonZeroU32) -> Permit {
        let answer = self.limiter.check_key(&access);
        let (remaining, retry_after) = match &answer {
            // The snapshot has this call taken; a look has not.
            Ok(state) => (
                state.remaining_burst_capacity() + u32::from(access == Access::Look),
                Duration::ZERO,
            ),
            Err(until) => (0, until.wait_time_from(self.limiter.clock().now())),
        };
        Permit {
            allowed: answer.is_ok(),
            limit: rate.get(),
            remaining,
            retry_after,
        }
    }

    /// Calls that could be made at once, or `None` when not even one.
    fn free(&self) -> Option<u32> {
        let state: Result<StateSnapshot, NotUntil<Duration>> =
            self.limiter.check_key(&Access::Look);
        state.ok().map(|s| s.remaining_burst_capacity() + 1)
    }

    fn is_full(&self) -> bool {
        self.free() == Some(self.quota.burst_size().get())
    }
}

/// How a bucket is asked. Governor hands the key through to the state store, which is how a look, which it
/// does not offer, reaches ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// A permit is taken if there is one.
    Take,
    /// Nothing is taken.
    Look,
}

/// One bucket's state: what a look decides is not written back.
#[derive(Debug, Default)]
struct Peekable(InMemoryState);

impl StateStore for Peekable {
    type Key = Access;

    fn measure_and_replace<T, F, E>(&self, access: &Access, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let key = &NotKeyed::NonKey;
        match access {
            Access::Take => self.0.measure_and_replace(key, decide),
            Access::Look => {
                // An error is how a decision leaves the state as it is.
                let Err(answer) = self.0.measure_and_replace(key, |state| {
                    Err::<(Infallible, Nanos), _>(decide(state).map(|(answer, _)| answer))
                });
                answer
            }
        }
    }
}

/// The domain's clock as governor reads it.
#[derive(Clone, Debug)]
struct Monotonic(Arc<dyn Clock>);

impl GovernorClock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use latchkey_domain::{ManualClock, SystemClock, Timestamp};

    use super::*;

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)))
    }

    fn plan(calls_per_minute: u32, burst: u32) -> Plan {
        Plan {
            included_calls_per_month: None,
            calls_per_minute,
            burst_calls: Some(burst),
            overage: None,
        }
    }

    fn check(limits: &PlanBuckets, partner: PartnerId, plan: &Plan) -> Permit {
        limits.ask(partner, plan, Access::Take)
    }

    fn peek(limits: &PlanBuckets, partner: PartnerId, plan: &Plan) -> Permit {
        limits.ask(partner, plan, Access::Look)
    }

    #[test]
    fn buckets_are_bounded_and_full_ones_make_room() {
        let clock = clock();
        let limits = PlanBuckets::with_room_for(3, clock.clone());
        let partner = PartnerId::from_u128;
        let plan = plan(60, 5);
        for n in 0..3 {
            assert!(check(&limits, partner(n), &plan).allowed);
        }
        // Every bucket is in use: nobody's is dropped for a newcomer, who is told to come back.
        let refused = check(&limits, partner(9), &plan);
        assert_eq!((refused.allowed, refused.retry_after), (false, NO_ROOM));
        let unasked = || panic!("a budget is taken although there is no room");
        let refused = limits.take_if(partner(9), &plan, unasked);
        assert!(matches!(refused, Err(Refused::Plan(permit)) if permit.retry_after == NO_ROOM));
        assert_eq!(peek(&limits, partner(0), &plan).remaining, 4);
        // A second later they are full again, and so can be dropped.
        clock.advance(Duration::from_secs(1));
        assert!(check(&limits, partner(9), &plan).allowed);
        assert_eq!(limits.buckets.lock().unwrap().of.len(), 1);
        // Looking keeps nothing.
        peek(&limits, partner(7), &plan);
        assert_eq!(limits.buckets.lock().unwrap().of.len(), 1);
        clock.advance(SWEEP);
        peek(&limits, partner(7), &plan);
        assert_eq!(limits.buckets.lock().unwrap().of.len(), 0);
    }

    #[test]
    fn absurd_plans_do_not_overflow() {
        let clock = clock();
        let limits = PlanBuckets::new(clock.clone());
        let edges = [1, 2, 59, 60, 61, 1_000_000, u32::MAX];
        let mut partner = 0;
        for rate in edges {
            for burst in edges {
                partner += 1;
                let (id, plan) = (PartnerId::from_u128(partner), plan(rate, burst));
                assert!(check(&limits, id, &plan).allowed, "{rate} {burst}");
                assert!(peek(&limits, id, &plan).remaining >= burst.min(50_000_000) - 1);
                clock.advance(Duration::from_secs(3600));
            }
        }
        // One partner through all of them.
        for rate in edges {
            for burst in edges {
                check(&limits, PartnerId::OPERATOR, &plan(rate, burst));
            }
        }
    }

    #[test]
    fn threads_share_one_bucket_exactly() {
        let limits = PlanBuckets::new(clock());
        let allowed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let permit = check(&limits, PartnerId::OPERATOR, &plan(60, 500));
                        allowed.fetch_add(u32::from(permit.allowed), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(allowed.into_inner(), 500);
    }

    #[test]
    fn the_machines_clock_serves() {
        let limits = PlanBuckets::new(Arc::new(SystemClock));
        assert!(check(&limits, PartnerId::OPERATOR, &plan(1, 1)).allowed);
        let refused = check(&limits, PartnerId::OPERATOR, &plan(1, 1));
        assert!(!refused.allowed && refused.retry_after > Duration::from_secs(50));
    }
}
