//! [`Budgets`]: what providers said of their own limits. Who was told "too often", or has used up a window, is
//! not asked again before the time that the provider named. These are kept in one process; in a fleet each worker
//! also hears what the others heard (`redis/scripts.rs`).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::{AuthConfigId, ConnectionId, Timestamp};

/// Budgets that are spent, at most; some 60 bytes each. Beyond them the provider itself refuses.
const MOST: usize = 50_000;

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetKey {
    /// An app's, over all of its users.
    App(AuthConfigId),
    /// One user's of an app.
    User(ConnectionId),
}

/// The spent budgets of this process.
#[derive(Debug, Default)]
pub struct Budgets(Mutex<HashMap<BudgetKey, Timestamp>>);

impl Budgets {
    /// How long nothing may be sent under this budget; nothing if it may.
    pub fn wait(&self, key: BudgetKey, now: Timestamp) -> Option<Duration> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = *spent.get(&key)?;
        if until <= now {
            spent.remove(&key);
            return None;
        }
        Some(now.until(until))
    }

    /// Notes that it is spent until then. The latest word counts.
    pub fn spent(&self, key: BudgetKey, until: Timestamp, now: Timestamp) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= MOST {
            spent.retain(|_, until| *until > now);
        }
        if spent.len() < MOST || spent.contains_key(&key) {
            spent.insert(key, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_comes_back_and_is_nobody_elses() {
        let budgets = Budgets::default();
        let at = Timestamp::from_secs;
        let user = |n| BudgetKey::User(ConnectionId::from_u128(n));
        budgets.spent(user(1), at(1060), at(1000));
        assert_eq!(
            budgets.wait(user(1), at(1000)),
            Some(Duration::from_secs(60))
        );
        assert_eq!(budgets.wait(user(2), at(1000)), None);
        assert_eq!(budgets.wait(user(1), at(1060)), None);
        assert!(budgets.0.lock().unwrap().is_empty());
    }
}
