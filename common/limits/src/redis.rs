//! [`RedisLimits`]: limits that are exact over all processes of a fleet, of plans (GCRA, see `governor.rs`) and of
//! providers (`pace.rs`). What one call needs is one script (`redis/scripts.rs`), by the server's clock, so that the
//! clocks of processes do not matter.
//!
//! While Redis is away each worker allows its *share*: the plan's rate and burst, and what a provider publishes,
//! divided by the number of workers that Redis last knew, rounded up. So N workers together allow at most N calls a
//! minute more than the plan; when Redis comes back empty, one burst more. A share is not a fresh bucket: what a
//! worker sent while Redis counted has been taken from it.

mod scripts;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::{Clock, Entropy, PartnerId, Timestamp, entropy, plan::Plan};
use redis::{
    Client, IntoConnectionInfo, RedisError, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use tokio_util::task::AbortOnDropHandle;

use self::scripts::{BEAT_ONCE, PEEK, SPENT, TAKE, TURN};
use crate::{
    Allowance, BudgetKey, CallLimits, LocalLimits, PaceKey, Permit, Refused, Turn, Wanted,
    governor::{LONGEST_FILL, MINUTE},
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

/// Whom to tell that Redis went away (`true`) and came back (`false`).
type Told = Box<dyn Fn(bool) + Send + Sync>;

/// Limits kept in Redis.
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

impl CallLimits for RedisLimits {
    fn take<'a>(&'a self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Permit, Refused>> {
        self.shared.takes.store(true, Ordering::Relaxed);
        self.shared.take(wanted).boxed()
    }

    fn peek<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Permit> {
        self.shared.peek(partner, plan).boxed()
    }

    fn turn<'a>(&'a self, partner: PartnerId, plan: &'a Plan) -> BoxFuture<'a, Turn> {
        self.shared.turn(partner, plan).boxed()
    }

    fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) -> BoxFuture<'_, ()> {
        self.shared.spent(budget, until, now).boxed()
    }
}

impl Shared {
    fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn workers(&self) -> u32 {
        self.workers.load(Ordering::Relaxed)
    }

    /// The time in µs where a test holds it still, or nothing.
    fn held_time(&self) -> String {
        match self.time.load(Ordering::Relaxed) {
            0 => String::new(),
            held => held.to_string(),
        }
    }

    async fn take(&self, wanted: Wanted<'_>) -> Result<Permit, Refused> {
        if wanted.plan.calls_per_minute == 0 {
            return Err(Refused::Plan(Permit::refused(0, MINUTE)));
        }
        if !self.is_away() {
            match self.ask_to_take(wanted).await {
                Ok(taken) => {
                    if taken.is_ok() {
                        self.of_its_share(wanted, |share| self.local.count(share));
                    }
                    return taken;
                }
                Err(error) => self.set_away(Some(&error)),
            }
        }
        let taken = self.of_its_share(wanted, |share| self.local.take_now(share));
        let limit = wanted.plan.calls_per_minute;
        match taken {
            Ok(permit) => Ok(Permit { limit, ..permit }),
            Err(Refused::Plan(permit)) => Err(Refused::Plan(Permit { limit, ..permit })),
            Err(provider) => Err(provider),
        }
    }

    async fn ask_to_take(&self, wanted: Wanted<'_>) -> Result<Result<Permit, Refused>, RedisError> {
        let Wanted { partner, plan, .. } = wanted;
        let mut script = TAKE.key(self.rate_key(partner));
        for key in wanted.heard {
            script.key(self.spent_key(*key));
        }
        for (key, _) in wanted.published {
            script.key(self.pace_key(key));
        }
        self.add_plan(&mut script, plan);
        script.arg(wanted.heard.len());
        for (_, allowance) in wanted.published {
            script
                .arg(micros(allowance.interval()))
                .arg(micros(allowance.room()));
        }
        let (by, wait, remaining): (u8, u64, u32) =
            script.invoke_async(&mut self.connection.clone()).await?;
        let wait = Duration::from_micros(wait);
        Ok(match by {
            scripts::BY_PLAN => Err(Refused::Plan(permit(plan, wait, remaining))),
            scripts::BY_PROVIDER => Err(Refused::Provider(wait)),
            _ => Ok(permit(plan, wait, remaining)),
        })
    }

    async fn peek(&self, partner: PartnerId, plan: &Plan) -> Permit {
        if plan.calls_per_minute == 0 {
            return Permit::refused(0, MINUTE);
        }
        if !self.is_away() {
            let mut script = PEEK.key(self.rate_key(partner));
            self.add_plan(&mut script, plan);
            let mut connection = self.connection.clone();
            match script.invoke_async::<(u64, u32)>(&mut connection).await {
                Ok((wait, remaining)) => {
                    return permit(plan, Duration::from_micros(wait), remaining);
                }
                Err(error) => self.set_away(Some(&error)),
            }
        }
        Permit {
            limit: plan.calls_per_minute,
            ..self.local.peek_now(partner, &self.share_of(plan))
        }
    }

    async fn turn(&self, partner: PartnerId, plan: &Plan) -> Turn {
        if !self.is_away() && plan.calls_per_minute > 0 {
            let mut script = TURN.key(self.rate_key(partner));
            script.key(format!("{}:turn:{partner}", self.namespace));
            self.add_plan(&mut script, plan);
            script.arg(micros(spacing(plan)));
            let mut connection = self.connection.clone();
            match script
                .invoke_async::<(u64, u32, u64)>(&mut connection)
                .await
            {
                Ok((wait, remaining, turn)) => {
                    return Turn {
                        permit: permit(plan, Duration::from_micros(wait), remaining),
                        wait: Duration::from_micros(turn),
                    };
                }
                Err(error) => self.set_away(Some(&error)),
            }
        }
        let turn = self.local.turn_now(partner, &self.share_of(plan));
        Turn {
            permit: Permit {
                limit: plan.calls_per_minute,
                ..turn.permit
            },
            ..turn
        }
    }

    async fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) {
        self.local.spent_now(budget, until, now);
        if self.is_away() {
            return;
        }
        let mut script = SPENT.key(self.spent_key(budget));
        script.arg(self.held_time()).arg(micros(now.until(until)));
        let mut connection = self.connection.clone();
        if let Err(error) = script.invoke_async::<()>(&mut connection).await {
            self.set_away(Some(&error));
        }
    }

    /// What every script is told of a plan.
    fn add_plan(&self, script: &mut ScriptInvocation<'_>, plan: &Plan) {
        // Rounded up: never faster than the plan.
        let interval = micros(MINUTE).div_ceil(u64::from(plan.calls_per_minute));
        let burst = u64::from(plan.burst()).min(micros(LONGEST_FILL) / interval);
        script
            .arg(self.held_time())
            .arg(KEPT_MS)
            .arg(interval)
            .arg(burst);
    }

    /// What this worker may do by itself of a plan.
    fn share_of(&self, plan: &Plan) -> Plan {
        let workers = self.workers();
        Plan {
            included_calls_per_month: None,
            calls_per_minute: plan.calls_per_minute.div_ceil(workers),
            burst_calls: Some(plan.burst().div_ceil(workers)),
            overage: None,
        }
    }

    /// Does something with this worker's share of what a call needs.
    fn of_its_share<T>(&self, wanted: Wanted<'_>, does: impl FnOnce(Wanted<'_>) -> T) -> T {
        let workers = u64::from(self.workers());
        let share = |(key, allowance): &(PaceKey, Allowance)| {
            let requests = allowance.requests.div_ceil(workers);
            let per = allowance.per;
            (key.clone(), Allowance { requests, per })
        };
        let published: Vec<_> = wanted.published.iter().map(share).collect();
        does(Wanted {
            plan: &self.share_of(wanted.plan),
            published: &published,
            ..wanted
        })
    }

    fn rate_key(&self, partner: PartnerId) -> String {
        format!("{}:rate:{partner}", self.namespace)
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

fn of(budget: BudgetKey) -> String {
    match budget {
        BudgetKey::App(id) => format!("app:{id}"),
        BudgetKey::User(id) => format!("user:{id}"),
    }
}

/// What the scripts say of a plan's permit.
fn permit(plan: &Plan, wait: Duration, remaining: u32) -> Permit {
    Permit {
        allowed: wait.is_zero(),
        limit: plan.calls_per_minute,
        remaining,
        retry_after: wait,
    }
}
