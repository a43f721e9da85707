//! Budgets of providers, counted for a whole fleet: one script looks at what a call needs and takes it in one step.
//! While Redis is away each worker keeps to its share of what is published, and to what it heard itself.

use std::{sync::LazyLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::Timestamp;
use redis::{RedisError, Script};

use super::{KEPT_MS, RedisLimits, Shared, micros};
use crate::{Allowance, BudgetKey, PaceKey, provider::ProviderLimits};

/// Takes from all published budgets, or from none. Keys: what may be called spent, then the published ones.
/// Arguments: how many keys are of the first kind, how long to keep a full budget, the time in tests or nothing,
/// then for each published one the µs that earn a request and the µs that may be owed. Answers the µs to wait.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local heard, now = tonumber(ARGV[1]), tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local wait, by = 0, {}
for i = 1, #KEYS do
  local at = tonumber(redis.call('GET', KEYS[i])) or 0
  local room = 0
  if i > heard then room = tonumber(ARGV[3 + 2 * (i - heard)]) end
  by[i] = math.max(at, now)
  wait = math.max(wait, at - now - room)
end
if wait > 0 then return wait end
for i = heard + 1, #KEYS do
  local earned = by[i] + tonumber(ARGV[2 + 2 * (i - heard)])
  local kept = math.ceil((earned - now) / 1000) + tonumber(ARGV[2])
  redis.call('SET', KEYS[i], string.format('%d', earned), 'PX', string.format('%d', kept))
end
return 0",
    )
});

/// Notes a budget as spent. Key: the budget. Arguments: for how many µs, and the time in tests.
static SPENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now, span = tonumber(ARGV[2]), tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local kept = string.format('%d', math.ceil(span / 1000) + 1)
redis.call('SET', KEYS[1], string.format('%d', now + span), 'PX', kept)",
    )
});

impl ProviderLimits for RedisLimits {
    fn take<'a>(
        &'a self,
        heard: &'a [BudgetKey],
        published: &'a [(PaceKey, Allowance)],
        now: Timestamp,
    ) -> BoxFuture<'a, Option<Duration>> {
        async move {
            let shared = &*self.shared;
            if shared.is_away() {
                return shared.take_share(heard, published, now);
            }
            match shared.take(heard, published).await {
                Ok(Some(wait)) => Some(wait),
                Ok(None) => {
                    // The share is no fresh budget: what goes out while Redis counts is taken from it.
                    shared.take_share(heard, published, now);
                    None
                }
                Err(error) => {
                    shared.set_away(Some(&error));
                    shared.take_share(heard, published, now)
                }
            }
        }
        .boxed()
    }

    fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) -> BoxFuture<'_, ()> {
        async move {
            let shared = &*self.shared;
            shared.providers.spent_now(budget, until, now);
            if shared.is_away() {
                return;
            }
            let mut script = SPENT.key(shared.spent_key(budget));
            script.arg(micros(now.until(until)));
            if let Some(held) = shared.held_time() {
                script.arg(held);
            }
            let mut connection = shared.connection.clone();
            if let Err(error) = script.invoke_async::<()>(&mut connection).await {
                shared.set_away(Some(&error));
            }
        }
        .boxed()
    }
}

impl Shared {
    async fn take(
        &self,
        heard: &[BudgetKey],
        published: &[(PaceKey, Allowance)],
    ) -> Result<Option<Duration>, RedisError> {
        let mut script = TAKE.prepare_invoke();
        for key in heard {
            script.key(self.spent_key(*key));
        }
        for (key, _) in published {
            script.key(self.pace_key(key));
        }
        script.arg(heard.len()).arg(KEPT_MS);
        match self.held_time() {
            Some(held) => script.arg(held),
            None => script.arg(""),
        };
        for (_, allowance) in published {
            script
                .arg(micros(allowance.interval()))
                .arg(micros(allowance.room()));
        }
        let wait: u64 = script.invoke_async(&mut self.connection.clone()).await?;
        Ok((wait > 0).then(|| Duration::from_micros(wait)))
    }

    /// What this worker may do by itself.
    fn take_share(
        &self,
        heard: &[BudgetKey],
        published: &[(PaceKey, Allowance)],
        now: Timestamp,
    ) -> Option<Duration> {
        let workers = u64::from(self.workers());
        let share = |(key, allowance): &(PaceKey, Allowance)| {
            let requests = allowance.requests.div_ceil(workers);
            (
                key.clone(),
                Allowance {
                    requests,
                    ..*allowance
                },
            )
        };
        let shares: Vec<_> = published.iter().map(share).collect();
        self.providers.take_now(heard, &shares, now)
    }

    fn spent_key(&self, budget: BudgetKey) -> String {
        format!("{}:spent:{}", self.namespace, of(budget))
    }

    fn pace_key(&self, key: &PaceKey) -> String {
        let endpoint = key.endpoint.as_deref().unwrap_or("");
        format!(
            "{}:pace:{}:{}:{endpoint}",
            self.namespace,
            of(key.whose),
            key.nth
        )
    }
}

fn of(budget: BudgetKey) -> String {
    match budget {
        BudgetKey::App(id) => format!("app:{id}"),
        BudgetKey::User(id) => format!("user:{id}"),
    }
}
