//! [`ProviderLimits`]: may a call go to its provider now, by the budgets that the provider publishes and by what it
//! said of them? One trait, so that nothing above can tell one machine from a fleet.

use std::{fmt::Debug, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::Timestamp;

use crate::{Allowance, BudgetKey, Budgets, PaceKey, Paces};

/// The budgets of providers, over all processes.
pub trait ProviderLimits: Debug + Send + Sync {
    /// Takes a request from each of the `published` budgets. If one of them has none, or the provider called one
    /// of `heard` spent, nothing is taken, and this is how long until all of them have one.
    fn take<'a>(
        &'a self,
        heard: &'a [BudgetKey],
        published: &'a [(PaceKey, Allowance)],
        now: Timestamp,
    ) -> BoxFuture<'a, Option<Duration>>;

    /// Notes that a provider called this budget spent until then.
    fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) -> BoxFuture<'_, ()>;
}

/// The budgets of one process.
#[derive(Debug, Default)]
pub struct LocalProviderLimits {
    heard: Budgets,
    paces: Paces,
}

impl LocalProviderLimits {
    /// [`ProviderLimits::take`] without waiting.
    pub(crate) fn take_now(
        &self,
        heard: &[BudgetKey],
        published: &[(PaceKey, Allowance)],
        now: Timestamp,
    ) -> Option<Duration> {
        let spent = heard.iter().filter_map(|key| self.heard.wait(*key, now));
        spent.max().or_else(|| self.paces.take(published, now))
    }

    /// [`ProviderLimits::spent`] without waiting.
    pub(crate) fn spent_now(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) {
        self.heard.spent(budget, until, now);
    }
}

impl ProviderLimits for LocalProviderLimits {
    fn take<'a>(
        &'a self,
        heard: &'a [BudgetKey],
        published: &'a [(PaceKey, Allowance)],
        now: Timestamp,
    ) -> BoxFuture<'a, Option<Duration>> {
        std::future::ready(self.take_now(heard, published, now)).boxed()
    }

    fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) -> BoxFuture<'_, ()> {
        self.spent_now(budget, until, now);
        std::future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Budgeted};

    #[tokio::test]
    async fn conforms() {
        conformance::provider_limits(async || Budgeted {
            limits: Box::new(LocalProviderLimits::default()),
            // Its time is what it is told.
            set: Box::new(|_| {}),
        })
        .await;
    }
}
