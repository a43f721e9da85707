//! What stands before a call to a provider: whether its partner may call at all, a permit of its plan, and
//! the breaker of the provider. Asked once the token is fresh, right before the request: a permit that was
//! given is used. Nothing waits here; who may not go is told when to come back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::{PartnerId, Timestamp, plan::Plan, states::PartnerStatus};
use latchkey_limits::{Admission, BreakerKey, Breakers, PlanLimits, Ticket};
use latchkey_runtime::{Config, Context};
use latchkey_store::{PartnerRow, Store, StoreError};
use latchkey_telemetry::{Metrics, ThrottleScope};
use moka::future::Cache;

/// How long a partner's row is kept: a suspension or another plan is seen everywhere after it
/// (`reliability.md` C: at most 5 s).
const PARTNER_KEPT: Duration = Duration::from_secs(5);
/// Partners kept, some 1 KiB each.
const PARTNERS_MAX: u64 = 10_000;
/// Partners with parked calls that are remembered before old ones are dropped; 32 bytes each.
const PARKED_MAX: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The gate of this worker.
#[derive(Debug)]
pub(crate) struct Gate {
    store: Store,
    config: Arc<Config>,
    limits: Arc<dyn PlanLimits>,
    breakers: Arc<Breakers>,
    metrics: Metrics,
    partners: Cache<PartnerId, Option<Arc<PartnerRow>>>,
    parking: Parking,
}

/// Why a call may not go out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The partner may not call at all.
    Partner {
        /// A code of `api.md` §1.
        code: &'static str,
        /// For people.
        message: &'static str,
    },
    /// The plan's calls per minute are used up. Waiting callers come back after `retry_after`, calls that
    /// nobody waits for at `slot`.
    Minute {
        /// When the next call may go.
        retry_after: Duration,
        /// The time that was kept for this call.
        slot: Timestamp,
    },
    /// The provider fails; it is left alone for this long.
    Breaker(Duration),
}

impl Gate {
    /// The gate of a worker with this context.
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            store: ctx.store.clone(),
            config: Arc::clone(&ctx.config),
            limits: Arc::clone(&ctx.plan_limits),
            breakers: Arc::clone(&ctx.breakers),
            metrics: ctx.metrics.clone(),
            partners: Cache::builder()
                .max_capacity(PARTNERS_MAX)
                .time_to_live(PARTNER_KEPT)
                .build(),
            parking: Parking::default(),
        }
    }

    /// The plan of a partner that may call.
    pub(crate) async fn plan(
        &self,
        partner: PartnerId,
    ) -> Result<Result<Plan, Refusal>, Arc<StoreError>> {
        let load = async { Ok(self.store.get_partner(partner).await?.map(Arc::new)) };
        let row = self.partners.try_get_with(partner, load).await?;
        Ok(self.judge(row.as_deref()))
    }

    fn judge(&self, row: Option<&PartnerRow>) -> Result<Plan, Refusal> {
        let refuse = |code, message| Err(Refusal::Partner { code, message });
        let Some(row) = row else {
            return refuse("PARTNER_REQUIRED", "the partner does not exist");
        };
        match row.status {
            PartnerStatus::Suspended => {
                return refuse("PARTNER_SUSPENDED", "the partner is suspended");
            }
            PartnerStatus::PastDue => {
                return refuse("PAYMENT_PAST_DUE", "the partner's payment is late");
            }
            PartnerStatus::Active => {}
        }
        match self.config.plan(&row.plan) {
            Some(plan) => Ok(plan.clone()),
            None => refuse("INTERNAL", "the partner's plan is not in the settings"),
        }
    }

    /// May a call go out? `now` and `monotonic` are the clock's.
    pub(crate) async fn enter(
        &self,
        partner: PartnerId,
        plan: &Plan,
        key: &BreakerKey,
        now: Timestamp,
        monotonic: Duration,
    ) -> Result<Ticket, Refusal> {
        // Looked at first, so that neither a permit nor the breaker's one probe is taken for nothing.
        let permit = self.limits.peek(partner, plan).await;
        if !permit.allowed {
            return Err(self.over_the_minute(partner, plan, now, permit.retry_after));
        }
        let ticket = match self.breakers.admit(key, monotonic) {
            Admission::Granted(ticket) => ticket,
            Admission::Refused(wait) => {
                self.metrics.throttled(ThrottleScope::Breaker);
                return Err(Refusal::Breaker(wait));
            }
        };
        let permit = self.limits.check(partner, plan).await;
        if permit.allowed {
            Ok(ticket)
        } else {
            Err(self.over_the_minute(partner, plan, now, permit.retry_after))
        }
    }

    /// Tells the breaker how a call ended: a time-out, a connection that failed and a 5xx are failures.
    pub(crate) fn leave(&self, key: &BreakerKey, monotonic: Duration, ticket: Ticket, well: bool) {
        self.breakers.record(key, monotonic, ticket, well);
    }

    fn over_the_minute(
        &self,
        partner: PartnerId,
        plan: &Plan,
        now: Timestamp,
        retry_after: Duration,
    ) -> Refusal {
        self.metrics.throttled(ThrottleScope::Minute);
        Refusal::Minute {
            retry_after,
            slot: self.parking.slot(partner, plan, now, retry_after),
        }
    }
}

/// When parked calls come back: one after the other at their partner's rate, so that each is sent to a
/// worker about twice however many wait (`architecture.md` §7). A hint: the permit decides.
#[derive(Debug, Default)]
struct Parking {
    last: Mutex<HashMap<PartnerId, Timestamp>>,
}

impl Parking {
    fn slot(
        &self,
        partner: PartnerId,
        plan: &Plan,
        now: Timestamp,
        retry_after: Duration,
    ) -> Timestamp {
        let spacing = MINUTE / plan.calls_per_minute.max(1);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= PARKED_MAX {
            last.retain(|_, at| *at > now);
        }
        let first = now + retry_after;
        let slot = last
            .get(&partner)
            .map_or(first, |at| first.max(*at + spacing));
        if last.len() < PARKED_MAX || last.contains_key(&partner) {
            last.insert(partner, slot);
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_calls_come_back_at_the_partners_rate() {
        let plan = Plan {
            included_calls_per_month: None,
            calls_per_minute: 30,
            burst_calls: None,
            overage: None,
        };
        let (parking, now) = (Parking::default(), Timestamp::from_secs(1000));
        let (a, b) = (PartnerId::from_u128(1), PartnerId::from_u128(2));
        let wait = Duration::from_secs(1);
        let slots: Vec<_> = (0..4)
            .map(|_| parking.slot(a, &plan, now, wait).as_secs())
            .collect();
        assert_eq!(slots, [1001, 1003, 1005, 1007]);
        assert_eq!(parking.slot(b, &plan, now, wait).as_secs(), 1001);
        let later = Timestamp::from_secs(1100);
        assert_eq!(parking.slot(a, &plan, later, wait).as_secs(), 1101);
    }
}
