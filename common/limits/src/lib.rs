//! How fast partners and providers are gone at: the plan limit of each partner and the budgets of each provider
//! ([`CallLimits`]), kept by one machine ([`LocalLimits`]) or by Redis for a fleet ([`RedisLimits`]), and a circuit
//! breaker for each provider and auth config ([`Breakers`]), which keeps a hanging provider from taking the slots of
//! the others.
//!
//! Both only decide; they never wait. A call over its limit is answered or parked by whoever asked.

pub mod breaker;
pub mod breakers;
pub mod budgets;
pub mod bulkheads;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod governor;
pub mod local;
pub mod pace;
pub mod permit;
pub mod redis;
mod turns;

pub use breaker::{Admission, Breaker, BreakerRules, BreakerState, Ticket};
pub use breakers::{BreakerKey, Breakers};
pub use budgets::{BudgetKey, Budgets};
pub use bulkheads::{Bulkheads, Place};
pub use local::LocalLimits;
pub use pace::{Allowance, PaceKey, Paces};
pub use permit::{CallLimits, Permit, Refused, Turn, Wanted};
pub use redis::RedisLimits;
