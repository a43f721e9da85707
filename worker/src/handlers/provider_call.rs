//! Makes one request to a provider on behalf of an account (`architecture.md` §5, Call).
//!
//! ```text
//! open the sealed request ─▶ was it sent before? ─▶ fresh token ─▶ permit and breaker ─▶ receipt `sent`
//!                                                                  (asynchronous calls are parked)  (unsafe)
//!   reply or result ◀─ receipt, final ◀─ answer, or none ◀─ send; once more after a 401 ◀──────────┘
//! ```
//!
//! An *unsafe* request (anything but GET, HEAD, OPTIONS) goes out once: its receipt says `sent` before it
//! leaves, and whoever finds that receipt without an outcome does not send again. It is *repeatable* all the
//! same where the caller gave an idempotency key that the service honours.
//!
//! | file | what it does |
//! | --- | --- |
//! | `sending.rs` | the request, and what repeats it |
//! | `ledger.rs` | receipts |
//! | `ending.rs` | how a call ends, and how its caller learns that |

mod ending;
mod ledger;
mod sending;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use latchkey_domain::{
    CallId, PartnerId, QuotaBlockId,
    plan::Plan,
    states::{CallOutcome, ConnectionStatus},
};
use latchkey_jobs::{
    Outcome, frame,
    kinds::{ProviderCall, provider_call::CallRequest},
};
use latchkey_limits::BreakerKey;
use latchkey_oauth::HttpRequest;
use latchkey_providers::{OutgoingCall, Provider, Service, Target, forward_headers};
use latchkey_runtime::{Context, SealError};
use latchkey_store::{CallRow, Connection};
use latchkey_telemetry::{Chain, ThrottleScope};
use secrecy::ExposeSecret;

use self::{
    ending::{Ended, Fault},
    sending::Sent,
};
use crate::{
    Worker,
    client::OauthClient,
    fault::point,
    gate::{Asked, Entered, Refusal},
    quota::{Quota, QuotaPermit},
    refresh::{FreshToken, NotFresh},
    register::Handler,
    runner::{Attempt, Failure},
};

/// Kept of a caller's time for recording the outcome and bringing it back: without it a provider that hangs
/// would leave the caller without even that word.
const REPLY_MARGIN: Duration = Duration::from_millis(500);
/// The shortest wait of a call that is held back.
const HELD_AT_LEAST: Duration = Duration::from_secs(1);

type Step<T> = Result<T, Ended>;

impl Handler for ProviderCall {
    async fn run(self, worker: &Worker, attempt: &Attempt) -> Outcome {
        let ended = match Call::open(worker, attempt, &self).await {
            Ok(call) => call.run().await,
            Err(ended) => ended,
        };
        ending::deliver(&worker.ctx, attempt, &self, ended).await
    }

    async fn gave_up(self, worker: &Worker, attempt: &Attempt, failure: Failure) -> Failure {
        ending::gave_up(&worker.ctx, attempt, &self, failure).await
    }
}

/// A call on its way.
struct Call<'a> {
    worker: &'a Worker,
    ctx: &'a Context,
    attempt: &'a Attempt,
    kind: &'a ProviderCall,
    request: CallRequest,
    method: Method,
    target: Target,
    headers: HeaderMap,
    body: Bytes,
}

/// With what a call goes out.
struct With {
    connection: Arc<Connection>,
    client: Arc<OauthClient>,
    key: BreakerKey,
}

impl<'a> Call<'a> {
    /// Opens the sealed request.
    async fn open(worker: &'a Worker, attempt: &'a Attempt, kind: &'a ProviderCall) -> Step<Self> {
        let (ctx, job) = (&worker.ctx, &attempt.job);
        let sealed = job
            .sealed
            .as_deref()
            .ok_or_else(|| Fault::internal("it has no request"))?;
        let (table, column, row) = if job.durable {
            ("jobs", "sealed", job.id.to_string())
        } else {
            ("calls", "request", kind.call.to_string())
        };
        let opened = ctx
            .sealer
            .open(job.partner, table, column, &row, 0, sealed)
            .await;
        let opened = opened.map_err(|error| match error {
            SealError::Store { .. } => store_failed(job.durable, &error),
            error => Fault::internal(Chain(&error)).into(),
        })?;
        let (request, body) = frame::unpack::<CallRequest>(opened.expose_secret())
            .map_err(|error| Fault::internal(Chain(&error)))?;
        let wrong = |what: &str| Fault::new("INVALID_REQUEST", format!("its {what} is not usable"));
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request.target.as_str(), None),
        };
        Ok(Self {
            method: Method::try_from(request.method.as_str()).map_err(|_| wrong("method"))?,
            target: Target::raw(path, query).map_err(|_| wrong("path"))?,
            headers: headers(&request).ok_or_else(|| wrong("headers"))?,
            body: Bytes::copy_from_slice(body),
            worker,
            ctx,
            attempt,
            kind,
            request,
        })
    }

    async fn run(&self) -> Ended {
        self.steps().await.unwrap_or_else(|ended| ended)
    }

    async fn steps(&self) -> Step<Ended> {
        let with = self.with().await?;
        let (provider, service) = self.entry(&with)?;
        self.check_permission(&with, service)?;
        let repeatable = !self.request.is_unsafe() || self.key(service).is_some();
        let slot = ledger::slot(self, repeatable).await?;
        let asked = self.ctx.clock.monotonic();
        let fresh = self.fresh(&with).await?;
        let token_wait = self.ctx.clock.monotonic().saturating_sub(asked);
        let request = self.build(&with, service, &fresh)?;
        let quota = self.quota().await?;
        let done = async {
            let entered = self.enter(&with).await?;
            let receipt = ledger::receipt(self, slot.id, token_wait);
            if self.request.is_unsafe() && !slot.begun {
                ledger::begin(self, receipt.clone()).await?;
            }
            point("call::begun");
            let sent = self.send(&with, fresh, request, entered, repeatable).await;
            point("call::answered");
            let block = quota.map(|permit| permit.block);
            self.conclude(provider, receipt, sent, repeatable, block)
                .await
        };
        let (ended, counted) = match done.await {
            Ok((ended, counted)) => (Ok(ended), counted),
            Err(ended) => (Err(ended), false),
        };
        if let Some(permit) = quota.filter(|_| !counted) {
            self.worker.quotas.release(permit).await;
        }
        ended
    }

    /// One call of the partner's month, if its plan ends at its quota. Test calls are not counted.
    async fn quota(&self) -> Step<Option<QuotaPermit>> {
        if self.kind.test {
            return Ok(None);
        }
        let plan = self.plan().await?;
        let taken = self.worker.quotas.take(self.partner(), &plan).await;
        match taken.map_err(|error| self.store_failed(&error))? {
            Quota::Free => Ok(None),
            Quota::Held(permit) => Ok(Some(permit)),
            Quota::Exhausted(until) => {
                self.ctx.metrics.throttled(ThrottleScope::Month);
                let message = "all calls that the plan has for this month are used";
                let wait = self.ctx.now().until(until);
                Err(Fault::new("QUOTA_EXCEEDED", message).after(wait).into())
            }
        }
    }

    /// The plan of a partner that may call.
    async fn plan(&self) -> Step<Plan> {
        let plan = self.worker.gate.plan(self.partner()).await;
        match plan.map_err(|error| self.store_failed(&*error))? {
            Ok(plan) => Ok(plan),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// The connection and the client that serve the call, as they are now.
    async fn with(&self) -> Step<With> {
        let (ctx, partner) = (self.ctx, self.partner());
        let found = self
            .worker
            .connections
            .get(partner, self.kind.connection)
            .await;
        let connection = found.map_err(|error| self.store_failed(&error))?;
        let Some(connection) = connection else {
            return Err(Fault::disconnected().into());
        };
        match connection.status(ctx.now()) {
            ConnectionStatus::Revoked => return Err(Fault::disconnected().into()),
            ConnectionStatus::Paused => {
                return Err(Fault::new("SERVICE_DISABLED", "the connection is paused").into());
            }
            // Whether the token works, or can be made to, is the refresh protocol's to say.
            ConnectionStatus::Pending
            | ConnectionStatus::Active
            | ConnectionStatus::Expired
            | ConnectionStatus::NeedsReauth => {}
        }
        let client = self
            .worker
            .clients
            .get(partner, connection.row.auth_config_id)
            .await;
        let client = client.map_err(|error| {
            if error.is_of_the_store() {
                self.store_failed(&error)
            } else {
                Fault::internal(Chain(&error)).into()
            }
        })?;
        let key = BreakerKey {
            provider: self.kind.provider.as_str().into(),
            auth_config: connection.row.auth_config_id,
        };
        Ok(With {
            connection,
            client,
            key,
        })
    }

    fn entry<'w>(&self, with: &'w With) -> Step<(&'w Provider, &'w Service)> {
        let provider = with.client.provider();
        let provider = provider.map_err(|error| Fault::internal(Chain(&error)))?;
        let service = provider.service(&self.kind.service);
        service
            .map(|service| (provider, service))
            .ok_or_else(|| Fault::new("NOT_FOUND", "the provider has no such service").into())
    }

    /// Refuses what was switched off since the call was accepted.
    fn check_permission(&self, with: &With, service: &Service) -> Step<()> {
        let is_on = |id: &str| with.connection.row.enabled_services.get(id) != Some(&false);
        let endpoint = &self.kind.endpoint;
        let named = service.endpoints.iter().find(|e| e.name == *endpoint);
        let allowed = if let Some(endpoint) = named {
            is_on(&endpoint.permission)
        } else {
            let mut needed = service.raw_permissions(&self.method);
            service.permissions.is_empty() || needed.any(|permission| is_on(&permission.id))
        };
        if allowed {
            return Ok(());
        }
        let message = "what this call needs was switched off for this connection";
        Err(Fault::new("SERVICE_DISABLED", message).into())
    }

    /// A token that works. A caller that waits is not kept beyond its time; the refresh goes on without it.
    async fn fresh(&self, with: &With) -> Step<FreshToken> {
        let fresh = self
            .worker
            .refresher
            .fresh(self.partner(), with.connection.grant.id);
        let fresh = match self.time_left() {
            Some(left) => tokio::time::timeout(left, fresh).await,
            None => Ok(fresh.await),
        };
        match fresh {
            Ok(Ok(fresh)) => Ok(fresh),
            Ok(Err(not_fresh)) => Err(self.not_fresh(not_fresh)),
            Err(_) => Err(Fault::unavailable("its token could not be refreshed in time").into()),
        }
    }

    fn not_fresh(&self, why: NotFresh) -> Ended {
        match why {
            NotFresh::NeedsReauth { reason } => Fault::needs_reauth(reason).into(),
            NotFresh::Unavailable { retry_after } => self.held(
                retry_after,
                Fault::unavailable("its token could not be refreshed yet"),
            ),
            NotFresh::Operator { .. } => self.held(
                Duration::from_secs(60),
                Fault::unavailable("the provider refuses the OAuth client of this connection"),
            ),
            NotFresh::Gone => Fault::disconnected().into(),
            NotFresh::Store(error) => self.store_failed(&error),
        }
    }

    /// Leave to send, right before the request.
    async fn enter(&self, with: &With) -> Step<Entered> {
        let plan = self.plan().await?;
        match self.ask_gate(with, &plan).await? {
            Ok(entered) => Ok(entered),
            // Nobody waits for it: it has its turn at the partner's rate.
            Err(Refusal::Minute(_)) if self.is_durable() => {
                let turn = self.worker.gate.turn(self.partner(), &plan).await;
                Err(Ended::Later(Outcome::Snooze {
                    until: self.ctx.now() + turn,
                    reason: "its partner's calls of this minute are used up".into(),
                }))
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    async fn ask_gate(&self, with: &With, plan: &Plan) -> Step<Result<Entered, Refusal>> {
        let (ctx, gate, partner) = (self.ctx, &self.worker.gate, self.partner());
        let (provider, _) = self.entry(with)?;
        let asked = Asked {
            partner,
            plan,
            key: &with.key,
            connection: with.connection.row.id,
            endpoint: &self.kind.endpoint,
            published: provider.budgets(),
            now: ctx.now(),
            monotonic: ctx.clock.monotonic(),
        };
        Ok(gate.enter(asked).await)
    }

    fn refused(&self, refusal: &Refusal) -> Ended {
        match *refusal {
            Refusal::Partner { code, message } => Fault::new(code, message).into(),
            Refusal::Minute(wait) => {
                Fault::new("RATE_LIMITED", "more calls a minute than the plan has")
                    .after(wait)
                    .into()
            }
            Refusal::Breaker(wait) => self.held(
                wait,
                Fault::unavailable("the provider keeps failing; it is left alone"),
            ),
            Refusal::Budget(wait) => self.held(
                wait,
                Fault::new(
                    "PROVIDER_RATE_LIMITED",
                    "the provider allows no more requests for now; nothing was sent",
                ),
            ),
            Refusal::Full(wait) => self.held(
                wait,
                Fault::unavailable("too many calls to the provider are under way"),
            ),
        }
    }

    /// The caller's idempotency key, if it gave one that the service honours: then sending twice acts once.
    fn key(&self, service: &Service) -> Option<&str> {
        let wanted = service.idempotency_header.as_ref()?;
        let mut given = self.request.headers.iter();
        let found = given.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, key)| key.as_str())
    }

    /// The request with this token in place.
    fn build(
        &self,
        with: &With,
        service: &Service,
        fresh: &FreshToken,
    ) -> Result<HttpRequest, Fault> {
        let call = OutgoingCall {
            method: self.method.clone(),
            target: &self.target,
            headers: self.headers.clone(),
            body: self.body.clone(),
            idempotency_key: self.key(service),
        };
        let vars = with
            .client
            .vars(&with.connection.row.params, &fresh.tokens.extra);
        let wrong = |error: &(dyn std::error::Error + 'static)| {
            Fault::new("PROVIDER_ERROR", Chain(error).to_string())
        };
        let access = fresh.tokens.access_of(service.token_class.as_deref());
        let access = access.ok_or_else(|| {
            Fault::new(
                "SERVICE_DISABLED",
                "the consent gave no token for this service",
            )
        })?;
        let mut request = service
            .call_request(&vars, call, access)
            .map_err(|error| wrong(&error))?;
        let (kind, headers) = (&fresh.tokens.token_type, request.request.headers_mut());
        with.client
            .provider()
            .map_err(|error| wrong(&error))?
            .present(kind, access, &service.token_header.name, headers)
            .map_err(|error| wrong(&error))?;
        Ok(request)
    }

    /// Records the outcome, out of this block of the quota; says how the call ended and whether it counts.
    async fn conclude(
        &self,
        provider: &Provider,
        receipt: CallRow,
        sent: Sent,
        repeatable: bool,
        block: Option<QuotaBlockId>,
    ) -> Step<(Ended, bool)> {
        let verdict = sent.verdict(provider, repeatable, self.ctx.now());
        let again = verdict.passes && self.is_durable() && !self.attempt.is_last;
        // A safe call that goes on has no receipt yet, and a repeatable one goes on with the one it has; but
        // where nothing was sent, the next attempt has a receipt of its own.
        let goes_on =
            again && (!self.request.is_unsafe() || verdict.outcome != CallOutcome::NotSent);
        if !goes_on {
            ledger::record(self, receipt, &sent, &verdict, block).await?;
        }
        let counts = !goes_on && verdict.outcome.is_billed();
        Ok((verdict.end(self.kind.call, again), counts))
    }

    /// Not now: whoever waits is told when to come back; a call that nobody waits for is snoozed, for as long
    /// as its result would be kept.
    fn held(&self, wait: Duration, fault: Fault) -> Ended {
        let now = self.ctx.now();
        let too_long = now.since(self.attempt.accepted_at) > self.ctx.config.calls.result_retention;
        if !self.is_durable() || too_long {
            return fault.after(wait).into();
        }
        Ended::Later(Outcome::Snooze {
            until: now + wait.max(HELD_AT_LEAST),
            reason: fault.message,
        })
    }

    fn store_failed(&self, error: &(dyn std::error::Error + 'static)) -> Ended {
        store_failed(self.is_durable(), error)
    }

    fn partner(&self) -> PartnerId {
        self.attempt.job.partner
    }

    fn is_durable(&self) -> bool {
        self.attempt.job.durable
    }

    /// How long a waiting caller still has, less what the reply takes.
    fn time_left(&self) -> Option<Duration> {
        let deadline = self.attempt.job.deadline.filter(|_| !self.is_durable())?;
        Some(self.ctx.now().until(deadline).saturating_sub(REPLY_MARGIN))
    }
}

/// The store is away, and nothing was sent: a call that nobody waits for is tried again.
fn store_failed(durable: bool, error: &(dyn std::error::Error + 'static)) -> Ended {
    if durable {
        return Ended::Later(Outcome::retry("INTERNAL", Chain(error)));
    }
    tracing::error!(error = %Chain(error), "the store failed before the call");
    Fault::new("UNAVAILABLE", "the call could not begin; nothing was sent").into()
}

/// The partner's headers that go on to the provider; `None` where one is not a header.
fn headers(request: &CallRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        headers.append(name, HeaderValue::try_from(value.as_str()).ok()?);
    }
    Some(forward_headers(&headers))
}

/// The receipt of the `n`-th attempt: the call's own id, then others derived from it, so that two processes
/// that think they run the same attempt meet at one row. Only attempts that surely sent nothing are followed
/// by another, so the ids are few.
fn receipt_id(call: CallId, n: usize) -> CallId {
    CallId::from_u128(call.as_u128() ^ n as u128)
}
