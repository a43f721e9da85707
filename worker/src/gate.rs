//! What stands before a call to a provider: whether its partner may call at all, a permit of its plan, what the
//! provider publishes and says of its own limits, a place among the calls under way there, and its breaker. Asked
//! once the token is fresh, right before the request: a permit that was given is used. Nothing waits here; who may not go is told when to come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use latchkey_domain::{ConnectionId, PartnerId, Timestamp, plan::Plan, states::PartnerStatus};
use latchkey_jobs::kinds::provider_call::MinuteLeft;
use latchkey_limits::{
    Admission, Allowance, BreakerKey, Breakers, BudgetKey, Bulkheads, CallLimits, PaceKey, Place,
    Refused, Ticket, Wanted,
};
use latchkey_providers::{Budget, BudgetScope};
use latchkey_runtime::{Config, Context};
use latchkey_store::{PartnerRow, Store, StoreError};
use latchkey_telemetry::{Metrics, ThrottleScope};
use moka::future::Cache;

/// How long a partner's row is kept: a suspension or another plan is seen everywhere after it
/// (`reliability.md` C: at most 5 s).
const PARTNER_KEPT: Duration = Duration::from_secs(5);
/// Partners kept, some 1 KiB each.
const PARTNERS_MAX: u64 = 10_000;
/// When a call that found its provider full of calls comes back.
const FULL_FOR: Duration = Duration::from_secs(1);

/// The gate of this worker.
#[derive(Debug)]
pub(crate) struct Gate {
    store: Store,
    config: Arc<Config>,
    limits: Arc<dyn CallLimits>,
    breakers: Arc<Breakers>,
    metrics: Metrics,
    partners: Cache<PartnerId, (u64, Option<Arc<PartnerRow>>)>,
    /// Changes of partners made in this process: a plan counts here at once.
    changes: Arc<AtomicU64>,
    bulkheads: Bulkheads,
}

/// Leave to send one request.
#[derive(Debug)]
pub(crate) struct Entered {
    ticket: Ticket,
    /// What the plan has left.
    pub(crate) minute: MinuteLeft,
    // Freed when the answer is there.
    _place: Place,
}

/// What the gate must know of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Whose call.
    pub(crate) partner: PartnerId,
    /// On which plan.
    pub(crate) plan: &'a Plan,
    /// At which provider, with whose client.
    pub(crate) key: &'a BreakerKey,
    /// With which connection.
    pub(crate) connection: ConnectionId,
    /// To which endpoint.
    pub(crate) endpoint: &'a str,
    /// The budgets that the provider publishes.
    pub(crate) published: &'a [Budget],
    /// The clock's time.
    pub(crate) now: Timestamp,
    /// The clock's monotonic time.
    pub(crate) monotonic: Duration,
}

/// Why a call may not go out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The partner may not call at all.
    Partner {
        /// A code of `api.md` §1.
        code: &'static str,
        /// For people.
        message: &'static str,
    },
    /// The plan's calls per minute are used up; the next one may go after this long.
    Minute(Duration),
    /// The provider fails; it is left alone for this long.
    Breaker(Duration),
    /// The provider said that it was asked too often, and when to come back; or its published budget is used up.
    Budget(Duration),
    /// As many calls are under way with this provider as may be.
    Full(Duration),
}

impl Asked<'_> {
    /// The published budgets that this call takes from. A workspace's is counted for each of its connections: which
    /// share one is the provider's to know, and its answers tell.
    fn paces(&self) -> Vec<(PaceKey, Allowance)> {
        let numbered = self.published.iter().enumerate();
        let pace = |(nth, budget): (usize, &Budget)| {
            let user = BudgetKey::User(self.connection);
            let (whose, endpoint) = match budget.scope {
                BudgetScope::App => (BudgetKey::App(self.key.auth_config), None),
                BudgetScope::User | BudgetScope::Workspace => (user, None),
                BudgetScope::Endpoint => (user, Some(self.endpoint.to_owned())),
            };
            let key = PaceKey {
                whose,
                nth,
                endpoint,
            };
            let allowance = Allowance {
                requests: budget.requests,
                per: Duration::from_secs(budget.per_s),
            };
            (key, allowance)
        };
        numbered.map(pace).collect()
    }
}

impl Gate {
    /// The gate of a worker with this context.
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            store: ctx.store.clone(),
            config: Arc::clone(&ctx.config),
            limits: Arc::clone(&ctx.limits),
            breakers: Arc::clone(&ctx.breakers),
            metrics: ctx.metrics.clone(),
            partners: Cache::builder()
                .max_capacity(PARTNERS_MAX)
                .time_to_live(PARTNER_KEPT)
                .build(),
            changes: Arc::clone(&ctx.partner_changes),
            bulkheads: Bulkheads::new(ctx.config.worker.per_provider),
        }
    }

    /// The plan of a partner that may call.
    pub(crate) async fn plan(
        &self,
        partner: PartnerId,
    ) -> Result<Result<Plan, Refusal>, Arc<StoreError>> {
        let changes = self.changes.load(Ordering::Acquire);
        match self.partners.get(&partner).await {
            Some((read_at, row)) if read_at == changes => return Ok(self.judge(row.as_deref())),
            Some(_) => self.partners.invalidate(&partner).await,
            None => {}
        }
        let load = async {
            Ok((
                changes,
                self.store.get_partner(partner).await?.map(Arc::new),
            ))
        };
        let (_, row) = Box::pin(self.partners.try_get_with(partner, load)).await?;
        Ok(self.judge(row.as_deref()))
    }

    fn judge(&self, row: Option<&PartnerRow>) -> Result<Plan, Refusal> {
        let refuse = |code, message| Err(Refusal::Partner { code, message });
        let Some(row) = row else {
            return refuse("PARTNER_REQUIRED", "the partner does not exist");
        };
        match row.status {
            PartnerStatus::Suspended => {
                return refuse("PARTNER_SUSPENDED", "the partner is suspended");
            }
            PartnerStatus::PastDue => {
                return refuse("PAYMENT_PAST_DUE", "the partner's payment is late");
            }
            PartnerStatus::Active => {}
        }
        match self.config.plan(&row.plan) {
            Some(plan) => Ok(plan.clone()),
            None => refuse("INTERNAL", "the partner's plan is not in the settings"),
        }
    }

    /// May a call go out?
    pub(crate) async fn enter(&self, asked: Asked<'_>) -> Result<Entered, Refusal> {
        let Asked {
            partner, plan, key, ..
        } = asked;
        // What costs nothing first: the limits of a fleet are a question to Redis.
        let Some(place) = self.bulkheads.enter(key) else {
            self.metrics.throttled(ThrottleScope::Provider);
            return Err(Refusal::Full(FULL_FOR));
        };
        let ticket = match self.breakers.admit(key, asked.monotonic) {
            Admission::Granted(ticket) => ticket,
            Admission::Refused(wait) => {
                self.metrics.throttled(ThrottleScope::Breaker);
                return Err(Refusal::Breaker(wait));
            }
        };
        let heard = [
            BudgetKey::App(key.auth_config),
            BudgetKey::User(asked.connection),
        ];
        let published = asked.paces();
        let taken = self.limits.take(Wanted {
            partner,
            plan,
            heard: &heard,
            published: &published,
            now: asked.now,
        });
        let refused = match taken.await {
            Ok(permit) => {
                return Ok(Entered {
                    ticket,
                    minute: MinuteLeft {
                        limit: permit.limit,
                        remaining: permit.remaining,
                    },
                    _place: place,
                });
            }
            Err(refused) => refused,
        };
        self.breakers.forgo(key, asked.monotonic, ticket);
        Err(match refused {
            Refused::Plan(permit) => {
                self.metrics.throttled(ThrottleScope::Minute);
                Refusal::Minute(permit.retry_after)
            }
            Refused::Provider(wait) => {
                self.metrics.throttled(ThrottleScope::Provider);
                Refusal::Budget(wait)
            }
        })
    }

    /// Tells the breaker how a call ended: a time-out, a connection that failed and a 5xx are failures.
    pub(crate) fn leave(
        &self,
        key: &BreakerKey,
        monotonic: Duration,
        entered: &Entered,
        well: bool,
    ) {
        self.breakers.record(key, monotonic, entered.ticket, well);
    }

    /// Notes what a provider said of its limits.
    pub(crate) async fn spent(&self, budget: BudgetKey, until: Timestamp, now: Timestamp) {
        self.limits.spent(budget, until, now).await;
    }

    /// When a call that was refused for the minute comes back, if nobody waits for it.
    pub(crate) async fn turn(&self, partner: PartnerId, plan: &Plan) -> Duration {
        self.limits.turn(partner, plan).await.wait
    }
}
