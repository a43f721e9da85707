//! The little mailbox behind `/api/messages`: every user begins with some letters of welcome and can add
//! own messages. The newest come first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use latchkey_domain::Timestamp;
use serde::Serialize;

use crate::{
    expiring::Expiring,
    limits::{IDEMPOTENCY_LIFETIME, MAX_MESSAGES, MAX_PENDING},
};

/// Letters of welcome that every user has, numbered from 1: enough for a second page.
const WELCOME: u64 = 25;
/// The first number of a message that a user wrote.
const FIRST_OWN: u64 = 1001;

/// A message as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) created_at: Option<String>,
}

#[derive(Debug)]
struct Written {
    user: Arc<str>,
    text: String,
    at: Timestamp,
}

/// What became of a request to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// A new message.
    New(Message),
    /// The message that an earlier request with this idempotency key wrote.
    Again(Message),
    /// The key was used with another text.
    OtherText,
}

/// All users' messages.
pub(crate) struct Messages {
    next: u64,
    written: BTreeMap<u64, Written>,
    of_user: HashMap<Arc<str>, VecDeque<u64>>,
    keys: Expiring<(Arc<str>, String), Message>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            next: FIRST_OWN,
            written: BTreeMap::new(),
            of_user: HashMap::new(),
            keys: Expiring::new(IDEMPOTENCY_LIFETIME, MAX_PENDING),
        }
    }
}

impl Messages {
    /// Writes a message, once for each idempotency key.
    pub(crate) fn write(
        &mut self,
        user: &Arc<str>,
        text: &str,
        key: Option<&str>,
        now: Timestamp,
    ) -> Wrote {
        let key = key.map(|key| (user.clone(), key.to_owned()));
        if let Some(before) = key.as_ref().and_then(|key| self.keys.get_mut(key, now)) {
            return if before.text == text {
                Wrote::Again(before.clone())
            } else {
                Wrote::OtherText
            };
        }
        if self.written.len() >= MAX_MESSAGES {
            self.forget_oldest();
        }
        let id = self.next;
        self.next += 1;
        let written = Written {
            user: user.clone(),
            text: text.to_owned(),
            at: now,
        };
        let message = written.shown(id);
        self.written.insert(id, written);
        self.of_user.entry(user.clone()).or_default().push_back(id);
        if let Some(key) = key {
            self.keys.insert(key, message.clone(), now);
        }
        Wrote::New(message)
    }

    /// One page of the user's messages before number `cursor`, newest first, and the cursor of the next.
    pub(crate) fn page(
        &self,
        user: &str,
        cursor: Option<u64>,
        limit: usize,
    ) -> (Vec<Message>, Option<String>) {
        let own = self.of_user.get(user).into_iter().flatten().rev().copied();
        let mut ids = own
            .chain((1..=WELCOME).rev())
            .skip_while(|id| cursor.is_some_and(|cursor| *id >= cursor))
            .peekable();
        let page: Vec<u64> = ids.by_ref().take(limit).collect();
        let next = ids.peek().and(page.last()).map(u64::to_string);
        (
            page.iter().filter_map(|id| self.get(user, *id)).collect(),
            next,
        )
    }

    /// One of the user's messages.
    pub(crate) fn get(&self, user: &str, id: u64) -> Option<Message> {
        if (1..=WELCOME).contains(&id) {
            return Some(Message {
                id: id.to_string(),
                text: format!("Welcome, {user}: letter {id} of {WELCOME}."),
                created_at: None,
            });
        }
        let written = self.written.get(&id).filter(|w| *w.user == *user)?;
        Some(written.shown(id))
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.written.pop_first()
            && let Some(ids) = self.of_user.get_mut(&oldest.user)
        {
            ids.pop_front();
            if ids.is_empty() {
                self.of_user.remove(&oldest.user);
            }
        }
    }
}

impl Written {
    fn shown(&self, id: u64) -> Message {
        Message {
            id: id.to_string(),
            text: self.text.clone(),
            created_at: Some(self.at.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(5);

    fn write(m: &mut Messages, user: &str, text: &str, key: Option<&str>) -> Wrote {
        m.write(&user.into(), text, key, NOW)
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        let mut m = Messages::default();
        for n in 0..7 {
            write(&mut m, "ada", &n.to_string(), None);
            write(&mut m, "bob", "not hers", None);
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = m.page("ada", cursor, 10);
            seen.extend(page.into_iter().map(|message| message.id));
            let Some(next) = next else { break };
            cursor = next.parse().ok();
        }
        assert_eq!(seen.len(), 32);
        assert_eq!(
            (&*seen[0], &*seen[6], &*seen[7], &*seen[31]),
            ("1013", "1001", "25", "1")
        );
        assert_eq!(m.get("ada", 1002), None, "bob's");
        assert_eq!(m.get("ada", 9), m.get("ada", 9));
    }

    #[test]
    fn a_key_writes_once() {
        let mut m = Messages::default();
        let Wrote::New(first) = write(&mut m, "ada", "hi", Some("k")) else {
            panic!("the first is new");
        };
        assert_eq!(write(&mut m, "ada", "hi", Some("k")), Wrote::Again(first));
        assert_eq!(write(&mut m, "ada", "ho", Some("k")), Wrote::OtherText);
        assert!(matches!(
            write(&mut m, "bob", "ho", Some("k")),
            Wrote::New(_)
        ));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut m = Messages::default();
        write(&mut m, "ada", "first", None);
        for _ in 0..MAX_MESSAGES {
            write(&mut m, "bob", "x", None);
        }
        assert_eq!(m.get("ada", FIRST_OWN), None);
        assert_eq!(m.written.len(), MAX_MESSAGES);
        assert_eq!(m.page("ada", None, 1).0[0].id, "25");
    }
}
