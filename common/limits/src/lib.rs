//! How fast partners and providers are gone at: the plan limit of each partner ([`PlanLimits`]) and the budgets of
//! each provider ([`ProviderLimits`]), both kept by one machine or by [`RedisLimits`] for a fleet, and a circuit
//! breaker for each provider and auth config
//! ([`Breakers`]), which keeps a hanging provider from taking the slots of the others.
//!
//! Both only decide; they never wait. A call over its limit is answered or parked by whoever asked.

pub mod breaker;
pub mod breakers;
pub mod budgets;
pub mod bulkheads;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod governor;
pub mod pace;
pub mod permit;
pub mod provider;
pub mod redis;
mod turns;

pub use breaker::{Admission, Breaker, BreakerRules, BreakerState, Ticket};
pub use breakers::{BreakerKey, Breakers};
pub use budgets::{BudgetKey, Budgets};
pub use bulkheads::{Bulkheads, Place};
pub use governor::LocalLimits;
pub use pace::{Allowance, PaceKey, Paces};
pub use permit::{Permit, PlanLimits};
pub use provider::{LocalProviderLimits, ProviderLimits};
pub use redis::RedisLimits;
