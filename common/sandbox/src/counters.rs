//! [`Counter`]: what the sandbox counts, so that a test can compare the provider's view with ours, and wait
//! for it without sleeping.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// One counter. Its JSON name is the variant in snake_case (`token_refresh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Counter {
    /// Requests to the authorize endpoint.
    AuthorizeRequests,
    /// Consents given, by page or at once.
    Consents,
    /// Consents denied.
    Denials,
    /// POSTs to the token endpoint, whatever became of them.
    TokenRequests,
    /// Codes exchanged for a grant.
    TokenExchange,
    /// Refreshes granted with new tokens.
    TokenRefresh,
    /// Refreshes answered again with the successor of a token within its grace.
    RefreshGrace,
    /// Token requests refused with an OAuth error.
    TokenRefused,
    /// Rotated refresh tokens presented again outside their grace: the reuse alarm.
    RefreshReuse,
    /// Presentations of a refresh token while an earlier presentation of it was still being processed.
    RefreshOverlap,
    /// Grants revoked at the revocation endpoint or by an admin.
    Revocations,
    /// Requests to the protected API, whatever became of them.
    ApiCalls,
    /// Requests that changed something at the API: messages written, unsafe methods echoed.
    ApiWrites,
    /// API requests refused for their token.
    #[serde(rename = "api_401")]
    Api401,
    /// Faults that struck.
    FaultsHit,
    /// Requests whose client was gone before they had an answer. A held token request is still acted on.
    Abandoned,
}

/// How many counters there are.
const COUNT: usize = Counter::Abandoned as usize + 1;

impl Counter {
    /// Every counter.
    pub const ALL: [Self; COUNT] = [
        Self::AuthorizeRequests,
        Self::Consents,
        Self::Denials,
        Self::TokenRequests,
        Self::TokenExchange,
        Self::TokenRefresh,
        Self::RefreshGrace,
        Self::TokenRefused,
        Self::RefreshReuse,
        Self::RefreshOverlap,
        Self::Revocations,
        Self::ApiCalls,
        Self::ApiWrites,
        Self::Api401,
        Self::FaultsHit,
        Self::Abandoned,
    ];
}

/// The counters of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    values: [AtomicU64; COUNT],
    changed: Notify,
}

impl Counters {
    pub(crate) fn add(&self, counter: Counter, n: u64) {
        self.values[counter as usize].fetch_add(n, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::SeqCst)
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<Counter, u64> {
        Counter::ALL.map(|c| (c, self.get(c))).into()
    }

    pub(crate) fn reset(&self) {
        for value in &self.values {
            value.store(0, Ordering::SeqCst);
        }
    }

    /// Waits until the counter shows at least `at_least` or the time is over; gives its value then.
    pub(crate) async fn wait(&self, counter: Counter, at_least: u64, timeout: Duration) -> u64 {
        let reached = async {
            loop {
                // Registered before reading, so that no change falls between the two.
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.get(counter) >= at_least {
                    return;
                }
                changed.await;
            }
        };
        // Either way the value tells the caller which of the two it was.
        tokio::time::timeout(timeout, reached).await.ok();
        self.get(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_place_and_name() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
        }
        let name = |c: Counter| serde_json::to_value(c).unwrap();
        assert_eq!(name(Counter::TokenRefresh), "token_refresh");
        assert_eq!(name(Counter::Api401), "api_401");
    }

    #[tokio::test]
    async fn a_waiter_sees_the_change_or_the_end_of_its_time() {
        let counters = Counters::default();
        let long = Duration::from_secs(60);
        let wait = counters.wait(Counter::ApiCalls, 3, long);
        let count = async {
            for _ in 0..3 {
                counters.add(Counter::ApiCalls, 1);
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(tokio::join!(wait, count).0, 3);
        let over = counters.wait(Counter::ApiCalls, 4, Duration::ZERO).await;
        assert_eq!(over, 3);
        counters.reset();
        assert_eq!(counters.get(Counter::ApiCalls), 0);
    }
}
