//! [`Protocol`]: what the steps of the refresh protocol share, and the reading and deciding before one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use latchkey_domain::{
    HolderId, Timestamp,
    refresh::{ClaimDecision, DeadReason, Need, RotationRules, Timings, may_claim},
    states::AuthConfigStatus,
};
use latchkey_oauth::{RequestError, TokenSet, tokens::TokenSetError};
use latchkey_runtime::{Context, SealError};
use latchkey_store::{GrantKey, GrantRow, LoadedGrant, StoreError};
use latchkey_telemetry::Chain;
use secrecy::ExposeSecret;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    attempt::End,
    flights::{Flight, Flights},
    health::Health,
    journal::{Journal, JournalError},
    moment::Moment,
    refresher::{FreshToken, NotFresh},
    warm::Warm,
};
use crate::{
    WorkerError,
    client::{ClientError, Clients, OauthClient},
};

/// One send slot in this many is kept for grants that somebody waits for, so that a provider that hangs
/// cannot take them all with its due ones.
const KEPT_FREE: usize = 8;

/// The protocol in this process.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) ctx: Context,
    pub(super) timings: Timings,
    /// Whose journal this process's is.
    pub(super) holder: HolderId,
    /// Where journals are.
    pub(super) journals: PathBuf,
    pub(super) journal: Arc<Journal>,
    pub(super) warm: Warm,
    pub(super) clients: Clients,
    pub(super) health: Health,
    flights: Flights<End>,
    // Token requests at once; nothing is claimed that cannot be sent.
    slots: Semaphore,
    due_slots: Semaphore,
}

/// A send slot; given back when dropped.
pub(super) struct Slot<'a> {
    _of_all: SemaphorePermit<'a>,
    _of_due: Option<SemaphorePermit<'a>>,
}

/// Why a refresh cannot even be claimed, for a reason on our side of it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Blocked {
    /// The provider refused the client; its operator must act.
    #[error("the auth config is paused: {0}")]
    Paused(String),
    /// There is no client to refresh with.
    #[error("there is no client to refresh with")]
    Client(#[source] ClientError),
    /// The tokens do not open.
    #[error("the tokens do not open")]
    Sealed(#[source] SealError),
    /// What was sealed is no token set.
    #[error("the tokens cannot be read")]
    Tokens(#[source] Arc<TokenSetError>),
    /// The tokens were forgotten.
    #[error("the grant has no tokens")]
    NoTokens,
    /// Entry and auth config do not fit.
    #[error("the request cannot be built")]
    Request(#[source] Arc<RequestError>),
    /// The token endpoint fails; it is left alone for this long.
    #[error("the token endpoint fails: it is asked again in {} s", .0.as_secs())]
    Failing(Duration),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

/// Why a refresh is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// How much it is needed.
    pub(super) need: Need,
    /// Whether it tries out an auth config that is paused.
    pub(super) probe: bool,
}

impl Wish {
    /// It is due.
    pub(super) const DUE: Self = Self {
        need: Need::Due,
        probe: false,
    };

    /// It is due, and tries out its auth config.
    pub(super) const PROBE: Self = Self {
        probe: true,
        ..Self::DUE
    };
}

impl From<Blocked> for NotFresh {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Store(source)
            | Blocked::Client(
                ClientError::Store(source) | ClientError::Seal(SealError::Store { source, .. }),
            )
            | Blocked::Sealed(SealError::Store { source, .. }) => Self::Store(source),
            Blocked::NoTokens => Self::Gone,
            Blocked::Failing(retry_after) => Self::Unavailable { retry_after },
            Blocked::Paused(reason) => Self::Operator { reason },
            other => Self::Operator {
                reason: Chain(&other).to_string(),
            },
        }
    }
}

impl Protocol {
    pub(super) fn new(ctx: Context) -> Result<Self, WorkerError> {
        let holder = HolderId::new(ctx.now(), &*ctx.entropy);
        let journals = ctx.data_dir.join("journal");
        let journal = Journal::create(&journals, holder);
        let journal = journal.map_err(|e| unusable(&journals, e))?;
        let slots = ctx.config.refresh.concurrency;
        Ok(Self {
            timings: ctx.config.refresh.timings(),
            holder,
            journals,
            journal: Arc::new(journal),
            warm: Warm::new(),
            clients: Clients::new(&ctx),
            health: Health::new(Arc::clone(&ctx.breakers)),
            flights: Flights::default(),
            slots: Semaphore::new(slots),
            due_slots: Semaphore::new((slots - slots / KEPT_FREE).max(1)),
            ctx,
        })
    }

    /// The client of a grant.
    pub(super) async fn client(&self, row: &GrantRow) -> Result<Arc<OauthClient>, Blocked> {
        let client = self.clients.get(row.partner_id, row.auth_config_id);
        client.await.map_err(Blocked::Client)
    }

    /// What the catalogue says of the grant's refresh tokens; the strictest where it cannot be asked.
    pub(super) async fn rules(&self, row: &GrantRow) -> RotationRules {
        const STRICTEST: RotationRules = RotationRules {
            rotates: true,
            grace: Duration::ZERO,
            reuse_beyond_grant: false,
        };
        let client = self.client(row).await.ok();
        let spec = client.as_ref().and_then(|client| client.spec().ok());
        spec.map_or(STRICTEST, |spec| spec.rotation.rules())
    }

    /// May this grant be claimed at `now`, as it was read?
    pub(super) fn decide(
        &self,
        loaded: &LoadedGrant,
        client: &OauthClient,
        wish: Wish,
        now: Timestamp,
    ) -> Result<ClaimDecision, Blocked> {
        if client.config.status == AuthConfigStatus::Paused && !wish.probe {
            let reason = client.config.status_reason.clone();
            return Err(Blocked::Paused(reason.unwrap_or_default()));
        }
        let spec = client.spec().map_err(Blocked::Client)?;
        let rules = spec.rotation.rules();
        Ok(may_claim(
            &loaded.view(),
            &rules,
            &self.timings,
            now,
            wish.need,
        ))
    }

    /// Joins the grant's attempt in this process, or begins one.
    pub(super) fn fly(
        self: &Arc<Self>,
        loaded: LoadedGrant,
        wish: Wish,
        moment: Moment,
    ) -> Flight<End> {
        let protocol = Arc::clone(self);
        let grant = loaded.row.id;
        let attempt = || async move { protocol.take_turn(loaded, wish, moment).await };
        self.flights
            .join_or_begin(grant, &self.ctx.stopper, attempt, || End::Crashed)
    }

    /// Waits for a send slot; `None` if the process stops first, or none is free for as long as a lease
    /// holds.
    pub(super) async fn slot(&self, need: Need) -> Option<Slot<'_>> {
        let stop = match need {
            Need::Due => self.ctx.stopper.draining(),
            // Calls in flight are answered to the end.
            Need::TokenDead => self.ctx.stopper.finishing(),
        };
        let acquire = async {
            let of_due = match need {
                Need::Due => Some(self.due_slots.acquire().await.ok()?),
                Need::TokenDead => None,
            };
            let of_all = self.slots.acquire().await.ok()?;
            Some(Slot {
                _of_all: of_all,
                _of_due: of_due,
            })
        };
        let within = tokio::time::timeout(self.timings.lease, acquire);
        stop.run_until_cancelled(within).await?.ok()?
    }

    /// The grant's tokens, opened unless they are warm.
    pub(super) async fn tokens(&self, loaded: &LoadedGrant) -> Result<FreshToken, Blocked> {
        let (row, grant) = (&loaded.row, loaded.row.key());
        let monotonic = self.ctx.clock.monotonic();
        if let Some(token) = self.warm.opened(grant, row.version, monotonic) {
            return Ok(token);
        }
        let secret = loaded.secret.as_ref().ok_or(Blocked::NoTokens)?;
        let (id, version) = (grant.id.to_string(), secret.version);
        let opened = self
            .ctx
            .sealer
            .open(
                grant.partner_id,
                "grant_secrets",
                "sealed",
                &id,
                version,
                &secret.sealed,
            )
            .await
            .map_err(Blocked::Sealed)?;
        let tokens = TokenSet::from_bytes(opened.expose_secret());
        Ok(FreshToken {
            tokens: Arc::new(tokens.map_err(|e| Blocked::Tokens(Arc::new(e)))?),
            version,
        })
    }

    /// No second presentation is allowed and the access token is over: the grant needs its user.
    pub(super) async fn give_up(&self, row: &GrantRow, now: Timestamp) -> Result<(), StoreError> {
        let reason = DeadReason::RotationOutcomeUnknown;
        let killed = self
            .ctx
            .store
            .kill_grant(row.key(), row.version, reason.as_str(), now)
            .await?;
        if killed {
            self.ctx.metrics.needs_reauth(&row.provider, reason);
            self.changed(row.key()).await;
        }
        Ok(())
    }

    /// Sets when the scheduler looks at a grant again. Without it, its next pass does.
    pub(super) async fn look_again(&self, grant: GrantKey, rev: i64, at: Timestamp) {
        if let Err(error) = self.ctx.store.postpone_grant(grant, rev, at).await {
            tracing::debug!(%grant.id, error = %Chain(&error), "grant not postponed");
        }
    }

    /// A grant's row changed: what was opened of it is old, and somebody may wait for it.
    pub(super) async fn changed(&self, grant: GrantKey) {
        self.warm.forget(grant);
        self.ctx.signals.publish(grant.id.as_u128()).await;
    }
}

/// A journal that stops the worker from beginning.
pub(super) fn unusable(path: &std::path::Path, error: JournalError) -> WorkerError {
    WorkerError::Journal {
        path: path.to_owned(),
        source: Box::new(error),
    }
}
