//! [`Event`]: what happened, in order, for tests that want to know more than a number.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use latchkey_domain::Timestamp;
use serde::{Serialize, Serializer};

use crate::{
    limits::{MAX_EVENT_DETAIL, MAX_EVENT_PAGE, MAX_EVENTS},
    state::lock,
};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An authorization request was accepted.
    Authorize,
    /// A user consented; a code was given.
    Consent,
    /// A user denied.
    Deny,
    /// A code became a grant.
    Exchange,
    /// New tokens for a grant.
    Refresh,
    /// A rotated token got the same successor again.
    RefreshGrace,
    /// A rotated token was presented again after its grace.
    Reuse,
    /// A refresh token was presented while an earlier presentation of it was being processed.
    Overlap,
    /// The token endpoint refused.
    Refused,
    /// A grant was revoked.
    Revoke,
    /// A request to the protected API.
    Api,
    /// A fault struck.
    Fault,
}

/// One thing that happened. Holds no token, code or secret.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Its place in the order of things, from 1.
    pub seq: u64,
    /// When, RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// The grant's number, where one is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<u32>,
    /// The grant's generation after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The user, where one is known.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name")]
    pub user: Option<Arc<str>>,
    /// More, for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub detail: Cow<'static, str>,
}

/// Some events, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct EventPage {
    /// The events after the asked number.
    pub events: Vec<Event>,
    /// What to ask next: the number of the last event shown.
    pub next: u64,
    /// Whether events after the asked number were already forgotten.
    pub missed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn rfc3339<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn name<S: Serializer>(user: &Option<Arc<str>>, to: S) -> Result<S::Ok, S::Error> {
    user.as_deref().serialize(to)
}

/// The latest events.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    kept: VecDeque<Event>,
}

/// An event before it has its place.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    pub(crate) grant: Option<u32>,
    pub(crate) generation: Option<u32>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) detail: Cow<'static, str>,
}

impl Events {
    pub(crate) fn push(&self, at: Timestamp, kind: EventKind, what: Happened) {
        let Happened {
            grant,
            generation,
            user,
            mut detail,
        } = what;
        if detail.len() > MAX_EVENT_DETAIL {
            let end = detail.floor_char_boundary(MAX_EVENT_DETAIL);
            detail.to_mut().truncate(end);
        }
        let mut ring = lock(&self.0);
        ring.last += 1;
        if ring.kept.len() == MAX_EVENTS {
            ring.kept.pop_front();
        }
        let seq = ring.last;
        ring.kept.push_back(Event {
            seq,
            at,
            kind,
            grant,
            generation,
            user,
            detail,
        });
    }

    /// The events after number `since`, one page of them.
    pub(crate) fn since(&self, since: u64) -> EventPage {
        let ring = lock(&self.0);
        let first = ring.kept.front().map_or(ring.last + 1, |event| event.seq);
        let skip = usize::try_from(since.saturating_add(1).saturating_sub(first));
        let kept = ring.kept.iter().skip(skip.unwrap_or(usize::MAX));
        let events: Vec<_> = kept.take(MAX_EVENT_PAGE).cloned().collect();
        EventPage {
            next: events
                .last()
                .map_or(since.min(ring.last), |event| event.seq),
            missed: since.saturating_add(1) < first,
            events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_go_on_where_they_were_and_see_gaps() {
        let events = Events::default();
        let happen = |n: usize| {
            for _ in 0..n {
                events.push(Timestamp::from_secs(0), EventKind::Api, Happened::default());
            }
        };
        assert_eq!(events.since(0).next, 0);
        happen(3);
        let page = events.since(1);
        assert_eq!((page.events.len(), page.next, page.missed), (2, 3, false));
        assert_eq!(events.since(3).events.len(), 0);
        happen(MAX_EVENTS);
        let page = events.since(1);
        assert!(page.missed);
        assert_eq!((page.events[0].seq, page.events.len()), (4, MAX_EVENT_PAGE));
        assert!(!events.since(page.next).missed);
        assert_eq!(events.since(u64::MAX).events.len(), 0);
    }

    #[test]
    fn long_details_are_cut_between_characters() {
        let events = Events::default();
        let what = Happened {
            detail: "é".repeat(MAX_EVENT_DETAIL).into(),
            ..Happened::default()
        };
        events.push(Timestamp::from_secs(0), EventKind::Api, what);
        assert_eq!(events.since(0).events[0].detail.len(), MAX_EVENT_DETAIL);
    }
}
