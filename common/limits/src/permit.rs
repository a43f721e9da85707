//! [`PlanLimits`]: may this partner's next call go out now? One trait, so that nothing above can tell one
//! machine from a fleet.

use std::{fmt::Debug, time::Duration};

use futures::future::BoxFuture;
use latchkey_domain::{PartnerId, plan::Plan};

/// The minute limit of each partner's plan: `calls_per_minute` on, with [`Plan::burst`] at once after a
/// quiet time. Over any window no more than rate × window + burst calls are allowed.
pub trait PlanLimits: Debug + Send + Sync {
    /// Takes a permit for one provider call, if there is one. Ask right before the request is sent: a
    /// permit that was given is used.
    fn check<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit>;

    /// What [`PlanLimits::check`] would find, without taking anything: for the headers of every answer.
    fn peek<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit>;

    /// When a call that waits for its partner's rate may come: how long until the next turn, `least` at the
    /// soonest. Turns follow each other at the plan's rate, one for each who asks, over all processes. A hint:
    /// the permit decides.
    fn turn<'a>(
        &'a self,
        partner: PartnerId,
        plan: &'a Plan,
        least: Duration,
    ) -> BoxFuture<'a, Duration>;
}

/// What a partner may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whether a call may go out (and, from `check`, whether this one was counted).
    pub allowed: bool,
    /// Calls per minute: `X-RateLimit-Minute-Limit`.
    pub limit: u32,
    /// Calls that could follow at once: `X-RateLimit-Minute-Remaining`.
    pub remaining: u32,
    /// How long until the next call is allowed; zero when this one is.
    pub retry_after: Duration,
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
