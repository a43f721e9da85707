//! [`CallLimits`]: may this call go out now, by its partner's plan and by what its provider allows? One trait, so
//! that nothing above can tell one machine from a fleet.

use std::{fmt::Debug, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::{PartnerId, Timestamp, plan::Plan};

use crate::{Allowance, BudgetKey, PaceKey};

/// The limits of calls, over all processes.
///
/// Of a partner: the minute limit of its plan, `calls_per_minute` on, with [`Plan::burst`] at once after a quiet
/// time; over any window no more than rate × window + burst calls are allowed. Of a provider: the budgets that it
/// publishes, and what it said of them.
pub trait CallLimits: Debug + Send + Sync {
    /// Takes a permit of the plan and a request from each published budget; or, if one of them has none, nothing.
    /// Ask right before the request is sent: what was given is used.
    fn take<'a>(&'a self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Permit, Refused>>;

    /// What the plan has for this partner now, without taking anything: for the headers of answers.
    fn peek<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit>;

    /// When a call that waits for its partner's rate may come. Turns follow each other at the plan's rate, one for
    /// each who asks, over all processes. A hint: the permit decides.
    fn turn<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Turn>;

    /// Notes that a provider called this budget spent until then.
    fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) -> BoxFuture<'_, ()>;

    /// Takes a permit of the plan alone.
    fn take_permit<'a>(
        &'a self,
        partner: PartnerId,
        plan: &'a Plan,
        now: Timestamp,
    ) -> BoxFuture<'a, Permit> {
        let wanted = Wanted {
            partner,
            plan,
            heard: &[],
            published: &[],
            now,
        };
        let taken = self.take(wanted);
        async move {
            match taken.await {
                Ok(permit) | Err(Refused::Plan(permit)) => permit,
                // No budget was asked for.
                Err(Refused::Provider(wait)) => Permit::refused(plan.calls_per_minute, wait),
            }
        }
        .boxed()
    }
}

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose call.
    pub partner: PartnerId,
    /// On which plan.
    pub plan: &'a Plan,
    /// What its provider may have called spent.
    pub heard: &'a [BudgetKey],
    /// The published budgets that it takes from.
    pub published: &'a [(PaceKey, Allowance)],
    /// The clock's time.
    pub now: Timestamp,
}

/// Why a call may not go out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The plan has no permit.
    Plan(Permit),
    /// The provider allows none: how long until all of its budgets have a request.
    Provider(Duration),
}

/// What a partner may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whether a call may go out (and, where it was taken, whether this one was counted).
    pub allowed: bool,
    /// Calls per minute: `X-RateLimit-Minute-Limit`.
    pub limit: u32,
    /// Calls that could follow at once: `X-RateLimit-Minute-Remaining`.
    pub remaining: u32,
    /// How long until the next call is allowed; zero when this one is.
    pub retry_after: Duration,
}

/// A place in the line of calls that wait for their partner's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What the plan had when the turn was given.
    pub permit: Permit,
    /// How long until the turn comes, and no sooner than a permit does.
    pub wait: Duration,
}

impl Permit {
    /// No call now, under a plan with this limit.
    pub(crate) fn refused(limit: u32, retry_after: Duration) -> Self {
        Self {
            allowed: false,
            limit,
            remaining: 0,
            retry_after,
        }
    }

    /// `Retry-After` in whole seconds, rounded up, so that a client that obeys is not early.
    pub fn retry_after_secs(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }
}
