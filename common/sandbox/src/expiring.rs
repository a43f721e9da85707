//! [`Expiring`]: a bounded map whose entries all live equally long, so that the oldest is always the next
//! to end.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use latchkey_domain::Timestamp;

/// A map with one lifetime for all entries and a bound on their number; a full map forgets its oldest.
pub(crate) struct Expiring<K, V> {
    entries: HashMap<K, V>,
    ends: VecDeque<(Timestamp, K)>,
    lifetime: Duration,
    bound: usize,
}

impl<K: Clone + Eq + Hash, V> Expiring<K, V> {
    pub(crate) fn new(lifetime: Duration, bound: usize) -> Self {
        Self {
            entries: HashMap::new(),
            ends: VecDeque::new(),
            lifetime,
            bound,
        }
    }

    /// Adds an entry whose key was never used before.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Timestamp) {
        self.forget_ended(now);
        // Counted by `ends`, which also holds keys already taken: it is the longer of the two.
        if self.ends.len() >= self.bound
            && let Some((_, oldest)) = self.ends.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.ends.push_back((now + self.lifetime, key.clone()));
        self.entries.insert(key, value);
    }

    /// The entry, if its time is not over.
    pub(crate) fn get_mut(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        self.forget_ended(now);
        self.entries.get_mut(key)
    }

    /// Takes the entry out.
    pub(crate) fn take(&mut self, key: &K, now: Timestamp) -> Option<V> {
        self.forget_ended(now);
        self.entries.remove(key)
    }

    fn forget_ended(&mut self, now: Timestamp) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, key)) = self.ends.pop_front() {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_with_time_and_make_room() {
        let at = Timestamp::from_secs;
        let mut map = Expiring::new(Duration::from_secs(10), 2);
        map.insert("a", 1, at(0));
        map.insert("b", 2, at(1));
        map.insert("c", 3, at(2));
        assert_eq!(map.get_mut(&"a", at(2)), None, "the oldest made room");
        assert_eq!(map.get_mut(&"b", at(10)), Some(&mut 2));
        assert_eq!(map.get_mut(&"b", at(11)), None, "its time is over");
        assert_eq!(map.take(&"c", at(11)), Some(3));
        assert_eq!(map.take(&"c", at(11)), None);
    }
}
