//! [`Bulkheads`]: how many calls may be under way with one provider and auth config at once, so that a provider
//! that hangs leaves slots to the others until its breaker opens, which takes as long as its first time-outs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::BreakerKey;

/// The calls under way in this process, by provider and auth config.
#[derive(Clone, Debug)]
pub struct Bulkheads {
    most: usize,
    running: Arc<Mutex<HashMap<BreakerKey, usize>>>,
}

/// A place among the calls under way; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    key: BreakerKey,
    running: Arc<Mutex<HashMap<BreakerKey, usize>>>,
}

impl Bulkheads {
    /// So many calls at once for each key; at least one.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            running: Arc::default(),
        }
    }

    /// Takes a place, if there is one.
    pub fn enter(&self, key: &BreakerKey) -> Option<Place> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get_mut(key) {
            Some(count) if *count >= self.most => return None,
            Some(count) => *count += 1,
            None => {
                running.insert(key.clone(), 1);
            }
        }
        Some(Place {
            key: key.clone(),
            running: Arc::clone(&self.running),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use latchkey_domain::AuthConfigId;

    use super::*;

    #[test]
    fn a_full_one_leaves_the_others_their_places() {
        let bulkheads = Bulkheads::new(2);
        let key = |n| BreakerKey {
            provider: "hangs".into(),
            auth_config: AuthConfigId::from_u128(n),
        };
        let first = bulkheads.enter(&key(1)).unwrap();
        let _second = bulkheads.enter(&key(1)).unwrap();
        assert!(bulkheads.enter(&key(1)).is_none());
        assert!(bulkheads.enter(&key(2)).is_some());
        drop(first);
        assert!(bulkheads.enter(&key(1)).is_some());
        assert_eq!(bulkheads.running.lock().unwrap().len(), 1);
    }
}
