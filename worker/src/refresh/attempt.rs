//! One attempt at refreshing a grant, from the claim to its end (`architecture.md` §6, steps 1 to 4). It runs
//! as a task of its own to its end, whoever stops waiting for it.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{
    AttemptId, Clock, Timestamp,
    refresh::{ClaimDecision, Class, Ended, RotationRules, may_send},
    states::AuthConfigStatus,
};
use latchkey_oauth::{
    HttpAnswer, HttpError, HttpRequest, OauthSpec, Template, TokenError,
    answer::{Asked, TOKEN_ANSWER_BYTES, parse_tokens},
    refresh_request,
    spec::Renewal,
    template::Source,
};
use latchkey_runtime::SealingKey;
use latchkey_store::{GrantClaim, GrantRow, JsonMap, LoadedGrant, StoreError};
use latchkey_telemetry::{Chain, RefreshOutcome, ThrottleScope};

use super::{
    closing::{Closed, Failure},
    fault,
    health::Path,
    moment::Moment,
    protocol::{Blocked, Protocol, Wish},
    refresher::{COME_BACK, FreshToken, NotFresh},
};
use crate::client::OauthClient;

/// How an attempt ended, for everyone who waited for it.
#[derive(Debug)]
pub(super) enum End {
    /// New tokens are in the store.
    Landed {
        /// They.
        token: FreshToken,
    },
    /// New tokens are in the store, and will be revoked: the connection was deleted meanwhile.
    Revoking,
    /// The row is not as it was read: somebody else claimed, landed or closed. Read it again.
    Moved,
    /// Another connection presents the token for this one, and its attempt ended so.
    Elsewhere(Arc<Self>),
    /// It was not to be claimed after all.
    NotNow(ClaimDecision),
    /// No send slot came free, or the process stops.
    NoSlot,
    /// Something on our side is in the way; nothing was claimed.
    Blocked(Blocked),
    /// The attempt is closed, without new tokens.
    Closed(Closed),
    /// The store failed before anything was sent.
    Store(StoreError),
    /// It ended without an outcome, as its process stops; the journal or the next process has it.
    Crashed,
}

impl End {
    /// What one who waited since `now` is told.
    pub(super) fn as_not_fresh(&self, now: Timestamp) -> NotFresh {
        let unavailable = |at: Timestamp| NotFresh::Unavailable {
            retry_after: now.until(at).max(COME_BACK),
        };
        match self {
            Self::Closed(closed) => match (closed.dead, &closed.paused) {
                (Some(reason), _) => NotFresh::NeedsReauth {
                    reason: reason.as_str().to_owned(),
                },
                (None, Some(reason)) => NotFresh::Operator {
                    reason: reason.clone(),
                },
                (None, None) => unavailable(closed.again_at.unwrap_or(now)),
            },
            Self::Blocked(blocked) => blocked.clone().into(),
            Self::Store(error) => NotFresh::Store(error.clone()),
            Self::Elsewhere(end) => match end.as_not_fresh(now) {
                // That one is: this one comes next.
                NotFresh::Gone | NotFresh::NeedsReauth { .. } => unavailable(now),
                other => other,
            },
            Self::Revoking => NotFresh::Gone,
            Self::NotNow(ClaimDecision::Busy(at) | ClaimDecision::Later(at)) => unavailable(*at),
            Self::Landed { .. } | Self::Moved | Self::NotNow(_) | Self::NoSlot | Self::Crashed => {
                unavailable(now)
            }
        }
    }
}

/// An attempt that was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    /// The row as it was read before the claim.
    pub(super) row: GrantRow,
    pub(super) attempt: AttemptId,
    /// The attempt that was open then, of a holder that was silent for too long.
    pub(super) replaced: Option<AttemptId>,
    pub(super) rules: RotationRules,
    /// When what comes is due again.
    pub(super) renewal: Option<Renewal>,
    /// The doubt that the claim carries on.
    pub(super) doubt: bool,
    /// From when the grace counts.
    pub(super) first_claim_at: Timestamp,
    /// The monotonic time before the claim was written; none if a process that died wrote it.
    pub(super) begun: Option<Duration>,
    pub(super) moment: Moment,
}

/// Everything that sending needs, made before the claim: what fails on our side fails without one.
pub(super) struct Prepared {
    pub(super) caller: Caller,
    pub(super) current: FreshToken,
    pub(super) request: HttpRequest,
    /// The breakers it passes.
    pub(super) path: Path,
}

/// As whom the token endpoint is asked.
pub(super) struct Caller {
    pub(super) client: Arc<OauthClient>,
    /// What was asked of the end user before connecting, where these requests need it.
    pub(super) connection: JsonMap,
    /// What the answer is sealed with. At hand before it is asked for: nothing but memory would hold an answer that comes
    /// while the key has to be read again and the store is away.
    pub(super) key: SealingKey,
}

impl Claimed {
    /// How long the attempt has taken so far.
    pub(super) fn took(&self, clock: &dyn Clock) -> Option<Duration> {
        let begun = self.begun?;
        Some(clock.monotonic().saturating_sub(begun))
    }
}

impl Protocol {
    /// Runs one attempt.
    pub(super) async fn attempt(&self, loaded: LoadedGrant, wish: Wish, moment: Moment) -> End {
        let Some(_slot) = self.slot(wish.need).await else {
            return End::NoSlot;
        };
        match self.claim(loaded, wish, moment).await {
            Ok((claimed, prepared)) => self.send(claimed, prepared).await,
            Err(end) => end,
        }
    }

    pub(super) async fn claim(
        &self,
        loaded: LoadedGrant,
        wish: Wish,
        moment: Moment,
    ) -> Result<(Claimed, Prepared), End> {
        let clock = &*self.ctx.clock;
        let client = self.client(&loaded.row).await.map_err(End::Blocked)?;
        // Decided again: a slot may have been long in coming.
        let decision = self.decide(&loaded, &client, wish, moment.now(clock));
        let (doubt, first_claim_at) = match decision.map_err(End::Blocked)? {
            ClaimDecision::Claim {
                doubt,
                first_claim_at,
            } => (doubt, first_claim_at),
            other => return Err(End::NotNow(other)),
        };
        let renewal = client.spec().ok().map(|spec| spec.refresh.renewal());
        let prepared = self.prepare(&loaded, client).await.map_err(End::Blocked)?;
        if let Some(wait) = self.health.blocked(&prepared.path, clock.monotonic()) {
            self.ctx.metrics.throttled(ThrottleScope::Breaker);
            self.health.trouble(&loaded.row.provider, clock.monotonic());
            return Err(End::Blocked(Blocked::Failing(wait)));
        }
        // Before the claim is written: what passes while it is counts against the sending.
        let begun = clock.monotonic();
        let claimed = Claimed {
            attempt: AttemptId::new(self.ctx.now(), &*self.ctx.entropy),
            rules: self.rules(&loaded.row).await,
            renewal,
            replaced: loaded.open.map(|open| open.attempt),
            row: loaded.row,
            doubt,
            first_claim_at,
            begun: Some(begun),
            moment,
        };
        match self.ctx.store.claim_grant(self.claim_of(&claimed)).await {
            Ok(true) => {}
            Ok(false) => return Err(End::Moved),
            Err(error) => {
                // It may be in the row all the same.
                self.close(&claimed, Failure::unsent()).await;
                return Err(End::Store(error));
            }
        }
        fault::point("refresh::before_send", &claimed.row).await;
        if !may_send(begun, clock.monotonic(), &self.timings) {
            tracing::warn!(grant = %claimed.row.id, "claim too old to be sent");
            self.close(&claimed, Failure::unsent()).await;
            return Err(End::Moved);
        }
        Ok((claimed, prepared))
    }

    pub(super) fn claim_of(&self, claimed: &Claimed) -> GrantClaim {
        GrantClaim {
            grant: claimed.row.key(),
            rev: claimed.row.rev,
            replaced: claimed.replaced,
            attempt: claimed.attempt,
            holder: self.holder,
            lease: self.timings.lease,
            first_claim_at: claimed.first_claim_at,
        }
    }

    async fn prepare(
        &self,
        loaded: &LoadedGrant,
        client: Arc<OauthClient>,
    ) -> Result<Prepared, Blocked> {
        let current = self.tokens(loaded).await?;
        let spec = client.spec().map_err(Blocked::Client)?;
        let connection = self.connection_params(&loaded.row, spec).await?;
        let key = self.ctx.sealer.at_hand(loaded.row.partner_id).await;
        let key = key.map_err(Blocked::Sealed)?;
        let credentials = client.client(&connection, &current.tokens.extra);
        let request = refresh_request(spec, &credentials, &current.tokens);
        let request = request.map_err(|e| Blocked::Request(Arc::new(e)))?;
        let path = Path::of(&loaded.row.provider, loaded.row.auth_config_id, &request);
        Ok(Prepared {
            caller: Caller {
                client,
                connection,
                key,
            },
            current,
            request,
            path,
        })
    }

    /// What was asked of the end user before connecting, if refreshing needs it: it is with the connection,
    /// and few providers put it into these requests.
    async fn connection_params(
        &self,
        row: &GrantRow,
        spec: &OauthSpec,
    ) -> Result<JsonMap, Blocked> {
        let url = spec.refresh.url.as_ref().unwrap_or(&spec.token.url);
        let mut slots = std::iter::once(url)
            .chain(spec.refresh.params.values())
            .chain(spec.introspect.iter().map(|introspect| &introspect.url))
            .flat_map(Template::slots);
        if !slots.any(|(source, _)| source == Source::Connection) {
            return Ok(JsonMap::default());
        }
        let found = self
            .ctx
            .store
            .get_connection(row.partner_id, row.connection_id);
        let found = found.await.map_err(Blocked::Store)?;
        Ok(found
            .map(|connection| connection.row.params)
            .unwrap_or_default())
    }

    /// Sends once; whatever comes of it, the attempt ends here.
    async fn send(&self, claimed: Claimed, prepared: Prepared) -> End {
        let Prepared {
            caller,
            current,
            request,
            path,
        } = prepared;
        let client = &caller.client;
        let clock = &self.ctx.clock;
        let passage = match self.health.pass(&path, clock.monotonic()) {
            Ok(passage) => passage,
            Err(wait) => {
                // Others failed since the claim.
                self.ctx.metrics.throttled(ThrottleScope::Breaker);
                self.close(&claimed, Failure::unsent()).await;
                return End::Blocked(Blocked::Failing(wait));
            }
        };
        let sent = self
            .ctx
            .http
            .send(request, self.timings.timeout, TOKEN_ANSWER_BYTES);
        let answer = fault::while_sending(Box::pin(sent), &claimed.row).await;
        fault::point("refresh::after_answer", &claimed.row).await;
        let well = answer.as_ref().is_ok_and(|a| !a.status.is_server_error());
        self.health.ended(&path, &passage, clock.monotonic(), well);
        if !well {
            self.health
                .trouble(&claimed.row.provider, clock.monotonic());
        }
        let is_probe = client.config.status == AuthConfigStatus::Paused;
        let failure = match answer {
            Ok(answer) => match self.read(&claimed, client, &current, &answer) {
                Ok(tokens) => {
                    let end = self.land(&claimed, &caller, tokens).await;
                    if is_probe {
                        let now = claimed.moment.now(&**clock);
                        self.resume(&claimed.row, client, now).await;
                    }
                    return end;
                }
                Err(refusal) => {
                    let class = refusal.class_after(claimed.row.failures);
                    let mut failure = Failure::refused(&refusal, class);
                    if class == Class::Operator {
                        failure.paused = self.pause(&claimed.row, client, &refusal).await;
                        if failure.paused.is_none() {
                            // Refused with credentials that are old by now: again, with the new ones.
                            failure.class = Class::Transient;
                        }
                    }
                    failure
                }
            },
            Err(error) => {
                tracing::warn!(
                    grant = %claimed.row.id, provider = claimed.row.provider, error = %Chain(&error),
                    "token request without an answer"
                );
                Failure::unanswered(&error)
            }
        };
        self.close(&claimed, failure).await
    }

    pub(super) fn read(
        &self,
        claimed: &Claimed,
        client: &OauthClient,
        current: &FreshToken,
        answer: &HttpAnswer,
    ) -> Result<latchkey_oauth::TokenSet, TokenError> {
        let now = claimed.moment.now(&*self.ctx.clock);
        match client.spec() {
            Ok(spec) => parse_tokens(spec, answer, Asked::Refresh(&current.tokens), now),
            // The request was built from it a moment ago, and the catalogue does not change.
            Err(_) => Err(TokenError {
                status: answer.status.as_u16(),
                code: "no_provider".to_owned(),
                description: None,
                class: Class::Transient,
                suspicious: false,
                ended: Ended::Unknown,
            }),
        }
    }

    /// Pauses the auth config that the provider refused, unless its credentials are others by now. Says why
    /// it is paused.
    async fn pause(
        &self,
        row: &GrantRow,
        client: &OauthClient,
        refusal: &TokenError,
    ) -> Option<String> {
        let used = &client.config;
        let current = self
            .ctx
            .store
            .get_auth_config(used.partner_id, used.id)
            .await;
        self.clients
            .forget(row.partner_id, row.auth_config_id)
            .await;
        if current
            .ok()
            .flatten()
            .is_none_or(|current| current.version != used.version)
        {
            return None;
        }
        crate::client::pause(&self.ctx, client, &refusal.code).await;
        Some(refusal.code.clone())
    }
}

impl Failure {
    /// Nothing left this process, and nothing failed.
    pub(super) fn unsent() -> Self {
        Self {
            ended: Ended::NotSent,
            // Not transient: that would count as a failure and begin a back-off.
            class: Class::RateLimited(Timestamp::default()),
            outcome: RefreshOutcome::NotSent,
            shown: None,
            paused: None,
        }
    }

    /// The provider answered, and not with tokens.
    fn refused(refusal: &TokenError, class: Class) -> Self {
        let outcome = match (refusal.ended, class) {
            (Ended::Unknown, _) => RefreshOutcome::InDoubt,
            (Ended::NotSent, _) => RefreshOutcome::NotSent,
            (Ended::Refused, Class::Permanent) => RefreshOutcome::NeedsReauth,
            (Ended::Refused, Class::Operator) => RefreshOutcome::Operator,
            (Ended::Refused, Class::RateLimited(_)) => RefreshOutcome::RateLimited,
            (Ended::Refused, Class::Transient) => RefreshOutcome::Transient,
        };
        let shown = match &refusal.description {
            Some(words) => format!("{}: {words}", refusal.code),
            None => refusal.code.clone(),
        };
        Self {
            ended: refusal.ended,
            class,
            outcome,
            shown: Some(shown),
            paused: None,
        }
    }

    /// No answer came, or none that is taken.
    fn unanswered(error: &HttpError) -> Self {
        let (ended, outcome) = match error {
            HttpError::NotSent { .. } => (Ended::NotSent, RefreshOutcome::NotSent),
            // A 4xx ends an attempt, however long it is.
            HttpError::TooLarge { status, .. } if (400..500).contains(status) => {
                (Ended::Refused, RefreshOutcome::Transient)
            }
            HttpError::Lost { .. } | HttpError::TooLarge { .. } => {
                (Ended::Unknown, RefreshOutcome::InDoubt)
            }
        };
        Self {
            ended,
            class: Class::Transient,
            outcome,
            shown: Some(error.to_string()),
            paused: None,
        }
    }
}
