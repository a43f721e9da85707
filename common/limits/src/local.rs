//! [`LocalLimits`]: the limits of calls, kept in one process.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::{Clock, PartnerId, Timestamp, plan::Plan};

use crate::{
    Allowance, BudgetKey, Budgets, CallLimits, PaceKey, Paces, Permit, Refused, Turn, Wanted,
    governor::{Access, PlanBuckets},
};

/// The limits of one process.
#[derive(Debug)]
pub struct LocalLimits {
    plans: PlanBuckets,
    heard: Budgets,
    paces: Paces,
}

impl LocalLimits {
    /// Limits of plans that count by this clock's monotonic time; those of providers count by the time they are told.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            plans: PlanBuckets::new(clock),
            heard: Budgets::default(),
            paces: Paces::default(),
        }
    }

    /// [`CallLimits::take`] without waiting.
    pub(crate) fn take_now(&self, wanted: Wanted<'_>) -> Result<Permit, Refused> {
        self.plans.take_if(wanted.partner, wanted.plan, || {
            self.take_budgets(wanted.heard, wanted.published, wanted.now)
        })
    }

    fn take_budgets(
        &self,
        heard: &[BudgetKey],
        published: &[(PaceKey, Allowance)],
        now: Timestamp,
    ) -> Option<Duration> {
        let spent = heard.iter().filter_map(|key| self.heard.wait(*key, now));
        spent.max().or_else(|| self.paces.take(published, now))
    }

    /// Takes what a call had from elsewhere, as far as it is there.
    pub(crate) fn count(&self, wanted: Wanted<'_>) {
        self.plans.ask(wanted.partner, wanted.plan, Access::Take);
        self.take_budgets(wanted.heard, wanted.published, wanted.now);
    }

    /// [`CallLimits::peek`] without waiting.
    pub(crate) fn peek_now(&self, partner: PartnerId, plan: &Plan) -> Permit {
        self.plans.ask(partner, plan, Access::Look)
    }

    /// [`CallLimits::turn`] without waiting.
    pub(crate) fn turn_now(&self, partner: PartnerId, plan: &Plan) -> Turn {
        self.plans.turn(partner, plan)
    }

    /// [`CallLimits::spent`] without waiting.
    pub(crate) fn spent_now(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) {
        self.heard.spent(budget, until, now);
    }
}

impl CallLimits for LocalLimits {
    fn take<'a>(&'a self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Permit, Refused>> {
        std::future::ready(self.take_now(wanted)).boxed()
    }

    fn peek<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit> {
        std::future::ready(self.peek_now(partner, plan)).boxed()
    }

    fn turn<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Turn> {
        std::future::ready(self.turn_now(partner, plan)).boxed()
    }

    fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) -> BoxFuture<'_, ()> {
        self.spent_now(budget, until, now);
        std::future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use latchkey_domain::ManualClock;

    use super::*;
    use crate::conformance::{self, Subject};

    #[tokio::test]
    async fn conforms() {
        conformance::call_limits(async || {
            let clock = Arc::new(ManualClock::new(conformance::START));
            let hand = Arc::clone(&clock);
            Subject::new(Arc::new(LocalLimits::new(clock)), move |span| {
                hand.advance(span);
            })
        })
        .await;
    }
}
