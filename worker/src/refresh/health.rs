//! [`Health`]: whether a token endpoint is in a state to be asked. Breakers per client and per endpoint keep a
//! provider that hangs from taking send slots; a retry budget per provider keeps our retries from adding to
//! its trouble.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::{AuthConfigId, pacing::RetryBudget};
use latchkey_limits::{Admission, BreakerKey, Breakers, Ticket};
use latchkey_oauth::HttpRequest;

/// No client: what a breaker of a whole endpoint has in its place.
const NOBODY: AuthConfigId = AuthConfigId::from_u128(0);

/// The token endpoints as this worker knows them.
#[derive(Debug)]
pub(super) struct Health {
    breakers: Arc<Breakers>,
    // As many as the catalogue has providers.
    providers: Mutex<HashMap<String, Known>>,
}

/// What is known of one provider.
#[derive(Clone, Copy, Debug)]
struct Known {
    retries: RetryBudget,
    /// When a request to it last failed or was held back by a breaker.
    troubled_at: Option<Duration>,
}

/// The breakers that one token request passes: its client's, and its endpoint's. Both count the same answers;
/// the first opens when one partner's client hangs, the second when everybody's do.
#[derive(Debug)]
pub(super) struct Path([BreakerKey; 2]);

/// A request that was let through.
#[derive(Debug)]
pub(super) struct Passage([Ticket; 2]);

impl Path {
    /// Of a request to this provider.
    pub(super) fn of(provider: &str, auth_config: AuthConfigId, request: &HttpRequest) -> Self {
        // Not the provider alone: tenants of some have hosts of their own.
        let host = request.request.uri().host().unwrap_or_default();
        let key = |provider: String, auth_config| BreakerKey {
            provider: provider.into(),
            auth_config,
        };
        Self([
            key(format!("{provider} tokens"), auth_config),
            key(format!("{provider} tokens at {host}"), NOBODY),
        ])
    }
}

impl Health {
    pub(super) fn new(breakers: Arc<Breakers>) -> Self {
        Self {
            breakers,
            providers: Mutex::default(),
        }
    }

    /// How long the endpoint is to be left alone, if it is. Takes no probe.
    pub(super) fn blocked(&self, path: &Path, now: Duration) -> Option<Duration> {
        let waits = path.0.iter().filter_map(|key| self.breakers.peek(key, now));
        waits.max()
    }

    /// May a request go out? If not, how long it waits.
    pub(super) fn pass(&self, path: &Path, now: Duration) -> Result<Passage, Duration> {
        let [client, endpoint] = &path.0;
        if let Some(wait) = self.blocked(path, now) {
            return Err(wait);
        }
        match (
            self.breakers.admit(client, now),
            self.breakers.admit(endpoint, now),
        ) {
            (Admission::Granted(one), Admission::Granted(other)) => Ok(Passage([one, other])),
            (Admission::Refused(wait), _) | (_, Admission::Refused(wait)) => Err(wait),
        }
    }

    /// How the request ended: a time-out, a connection that failed and a 5xx are failures.
    pub(super) fn ended(&self, path: &Path, passage: &Passage, now: Duration, well: bool) {
        for (key, ticket) in path.0.iter().zip(passage.0) {
            self.breakers.record(key, now, ticket, well);
        }
    }

    /// A request to this provider failed, or was held back.
    pub(super) fn trouble(&self, provider: &str, now: Duration) {
        self.with(provider, now, |known| known.troubled_at = Some(now));
    }

    /// Whether nothing was the matter with this provider since then, as far as this worker saw.
    pub(super) fn was_well(&self, provider: &str, since: Duration, now: Duration) -> bool {
        self.with(provider, now, |known| {
            known.troubled_at.is_none_or(|at| at < since)
        })
    }

    /// May a due refresh be tried, after so many failures in a row? First attempts always may.
    pub(super) fn may_try(&self, provider: &str, failures: u32, now: Duration) -> bool {
        self.with(provider, now, |known| {
            if failures == 0 {
                known.retries.first();
                return true;
            }
            known.retries.retry(now)
        })
    }

    fn with<T>(&self, provider: &str, now: Duration, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = providers.get_mut(provider) {
            return look(known);
        }
        let known = Known {
            retries: RetryBudget::new(now),
            troubled_at: None,
        };
        look(providers.entry(provider.to_owned()).or_insert(known))
    }
}
