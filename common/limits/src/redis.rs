//! [`RedisLimits`]: limits that are exact over all processes of a fleet: of plans here, of providers in
//! `redis/provider.rs`. One script does GCRA (see
//! `governor.rs`) for one partner in one step, by the server's clock, so that the clocks of processes do not
//! matter.
//!
//! While Redis is away each worker allows its *share*: the plan's rate and burst divided by the number of
//! workers that Redis last knew, rounded up. So N workers together allow at most N calls a minute more than
//! the plan; when Redis comes back empty, one burst more. A share is not a fresh bucket: what a worker sent
//! while Redis counted has been taken from it.

mod provider;

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::{Clock, Entropy, PartnerId, entropy, plan::Plan};
use redis::{
    Client, IntoConnectionInfo, RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    LocalLimits, LocalProviderLimits, Permit, PlanLimits,
    governor::{Access, LONGEST_FILL, MINUTE},
    turns::spacing,
};

/// How long Redis may take to answer before the share is used: a call waits for it.
const RESPONSE: Duration = Duration::from_secs(1);
/// How often a worker says that it counts, and, while Redis is away, looks whether it is back.
const BEAT: Duration = Duration::from_secs(1);
/// After how long a silent worker no longer has a share, in seconds.
const SILENCE_S: u64 = 10;
/// How long a bucket is kept after it is full again, in milliseconds.
const KEPT_MS: u64 = 10_000;

/// Takes or looks at one partner's permit. Key: the bucket. Arguments: microseconds between two calls, burst,
/// 1 to take, how long to keep it, and in tests the time. Answers {allowed, remaining, µs to wait}.
///
/// `tat` is GCRA's theoretical arrival time: when the bucket is full again. A bucket that was written under
/// another rate has as many calls used as then.
static ASK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local interval, burst, take = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local now = tonumber(ARGV[5])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local was = redis.call('HMGET', KEYS[1], 'tat', 'interval')
local used = math.max(0, (tonumber(was[1]) or 0) - now)
local interval_then = tonumber(was[2]) or interval
if interval_then ~= interval then used = math.ceil(used / interval_then) * interval end
used = math.min(used, burst * interval)
local left = (burst - 1) * interval - used
if left < 0 then return {0, 0, -left} end
if take then
  used = used + interval
  redis.call('HSET', KEYS[1], 'tat', now + used, 'interval', interval)
  redis.call('PEXPIRE', KEYS[1], math.ceil(used / 1000) + tonumber(ARGV[4]))
end
return {1, math.floor((burst * interval - used) / interval), 0}",
    )
});

/// Gives away one partner's next turn. Key: the last turn. Arguments: microseconds between two turns and until
/// the first, how long to keep it, and in tests the time. Answers the µs to wait.
static TURN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = tonumber(ARGV[4])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local first = now + tonumber(ARGV[2])
local last = tonumber(redis.call('GET', KEYS[1]))
local turn = first
if last then turn = math.max(first, last + tonumber(ARGV[1])) end
local kept = math.ceil((turn - now) / 1000) + tonumber(ARGV[3])
redis.call('SET', KEYS[1], string.format('%d', turn), 'PX', string.format('%d', kept))
return turn - now",
    )
});

/// Counts the workers that live. Key: the members. Arguments: this worker or nothing, seconds of silence.
static BEAT_ONCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = tonumber(redis.call('TIME')[1])
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - tonumber(ARGV[2])))
return redis.call('ZCARD', KEYS[1])",
    )
});

/// Whom to tell that Redis went away (`true`) and came back (`false`).
type Told = Box<dyn Fn(bool) + Send + Sync>;

/// Plan limits kept in Redis.
#[derive(Debug)]
pub struct RedisLimits {
    shared: Arc<Shared>,
    _beats: AbortOnDropHandle<()>,
}

struct Shared {
    connection: ConnectionManager,
    namespace: String,
    name: String,
    local: LocalLimits,
    providers: LocalProviderLimits,
    /// Workers that Redis last knew.
    workers: AtomicU32,
    /// Whether this process takes permits, and so has a share: the API only looks.
    takes: AtomicBool,
    away: AtomicBool,
    told: Told,
    /// The time in µs where a test holds it still; zero is the server's.
    time: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("workers", &self.workers)
            .field("away", &self.away)
            .finish_non_exhaustive()
    }
}

impl RedisLimits {
    /// Limits in the Redis at this address, whose keys begin with `namespace`. `told` hears when Redis goes
    /// away and the share counts (`true`), and when it is back (`false`). Needs no Redis to begin.
    ///
    /// # Errors
    /// If the address does not read.
    pub fn open(
        url: &str,
        namespace: &str,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        told: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        // For rediss://; whoever was first in this process chose the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = Client::open(url.into_connection_info()?.set_tcp_settings(tcp))?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE))
            .set_connection_timeout(Some(RESPONSE))
            .set_number_of_retries(0);
        let shared = Arc::new(Shared {
            connection: ConnectionManager::new_lazy_with_config(client, config)?,
            namespace: namespace.to_owned(),
            name: format!("{:032x}", u128::from_be_bytes(entropy::bytes(entropy))),
            local: LocalLimits::new(clock),
            providers: LocalProviderLimits::default(),
            workers: AtomicU32::new(1),
            takes: AtomicBool::new(false),
            away: AtomicBool::new(false),
            told: Box::new(told),
            time: AtomicU64::new(0),
        });
        let beats = tokio::spawn(Arc::clone(&shared).keep_beating());
        Ok(Self {
            shared,
            _beats: AbortOnDropHandle::new(beats),
        })
    }

    /// Whether the share counts now.
    pub fn is_away(&self) -> bool {
        self.shared.is_away()
    }

    /// Among how many workers the plan is divided while Redis is away.
    pub fn workers(&self) -> u32 {
        self.shared.workers()
    }

    /// Holds the time still, at this many microseconds, for the conformance suite.
    #[cfg(any(test, feature = "conformance"))]
    pub fn hold_time(&self, micros: u64) {
        self.shared.time.store(micros, Ordering::Relaxed);
    }

    /// Lets a held time pass.
    #[cfg(any(test, feature = "conformance"))]
    pub fn advance(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.shared.time.fetch_add(micros, Ordering::Relaxed);
    }
}

impl PlanLimits for RedisLimits {
    fn check<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit> {
        self.shared.takes.store(true, Ordering::Relaxed);
        self.shared.ask(partner, plan, Access::Take).boxed()
    }

    fn peek<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit> {
        self.shared.ask(partner, plan, Access::Look).boxed()
    }

    fn turn<'a>(
        &'a self,
        partner: PartnerId,
        plan: &'a Plan,
        least: Duration,
    ) -> BoxFuture<'a, Duration> {
        self.shared.turn(partner, plan, least).boxed()
    }
}

impl Shared {
    fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn workers(&self) -> u32 {
        self.workers.load(Ordering::Relaxed)
    }

    /// The time in µs, where a test holds it still.
    fn held_time(&self) -> Option<u64> {
        Some(self.time.load(Ordering::Relaxed)).filter(|held| *held > 0)
    }

    async fn ask(&self, partner: PartnerId, plan: &Plan, access: Access) -> Permit {
        if plan.calls_per_minute == 0 {
            return Permit::refused(0, MINUTE);
        }
        if self.is_away() {
            return self.by_share(partner, plan, access);
        }
        match self.ask_redis(partner, plan, access).await {
            Ok(permit) => {
                if permit.allowed && access == Access::Take {
                    self.by_share(partner, plan, access);
                }
                permit
            }
            Err(error) => {
                self.set_away(Some(&error));
                self.by_share(partner, plan, access)
            }
        }
    }

    async fn ask_redis(
        &self,
        partner: PartnerId,
        plan: &Plan,
        access: Access,
    ) -> Result<Permit, RedisError> {
        // Rounded up: never faster than the plan.
        let interval = micros(MINUTE).div_ceil(u64::from(plan.calls_per_minute));
        let burst = u64::from(plan.burst()).min(micros(LONGEST_FILL) / interval);
        let mut script = ASK.key(format!("{}:rate:{partner}", self.namespace));
        script
            .arg(interval)
            .arg(burst)
            .arg(u8::from(access == Access::Take))
            .arg(KEPT_MS);
        if let Some(held) = self.held_time() {
            script.arg(held);
        }
        let (allowed, remaining, wait): (bool, u64, u64) =
            script.invoke_async(&mut self.connection.clone()).await?;
        Ok(Permit {
            allowed,
            limit: plan.calls_per_minute,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            retry_after: Duration::from_micros(wait),
        })
    }

    async fn turn(&self, partner: PartnerId, plan: &Plan, least: Duration) -> Duration {
        if self.is_away() {
            return self.local.turn_now(partner, plan, least);
        }
        let mut script = TURN.key(format!("{}:turn:{partner}", self.namespace));
        script
            .arg(micros(spacing(plan)))
            .arg(micros(least))
            .arg(KEPT_MS);
        if let Some(held) = self.held_time() {
            script.arg(held);
        }
        match script
            .invoke_async::<u64>(&mut self.connection.clone())
            .await
        {
            Ok(wait) => Duration::from_micros(wait),
            Err(error) => {
                self.set_away(Some(&error));
                self.local.turn_now(partner, plan, least)
            }
        }
    }

    /// What this worker may do by itself.
    fn by_share(&self, partner: PartnerId, plan: &Plan, access: Access) -> Permit {
        let workers = self.workers();
        let share = Plan {
            included_calls_per_month: None,
            calls_per_minute: plan.calls_per_minute.div_ceil(workers),
            burst_calls: Some(plan.burst().div_ceil(workers)),
            overage: None,
        };
        Permit {
            limit: plan.calls_per_minute,
            ..self.local.ask(partner, &share, access)
        }
    }

    fn set_away(&self, error: Option<&RedisError>) {
        let away = error.is_some();
        if self.away.swap(away, Ordering::Relaxed) == away {
            return;
        }
        let workers = self.workers();
        if let Some(error) = error {
            tracing::warn!(%error, workers, "plan limits: Redis is away, workers allow their shares");
        } else {
            tracing::info!("plan limits: Redis is back");
        }
        (self.told)(away);
    }

    async fn keep_beating(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            ticks.tick().await;
            let takes = self.takes.load(Ordering::Relaxed);
            let counted = BEAT_ONCE
                .key(format!("{}:rate-members", self.namespace))
                .arg(if takes { self.name.as_str() } else { "" })
                .arg(SILENCE_S)
                .invoke_async::<u32>(&mut self.connection.clone())
                .await;
            match counted {
                Ok(workers) => {
                    self.workers.store(workers.max(1), Ordering::Relaxed);
                    self.set_away(None);
                }
                Err(error) => self.set_away(Some(&error)),
            }
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
