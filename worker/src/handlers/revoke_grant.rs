//! Revokes a disconnected grant at its provider, and keeps the receipt (`architecture.md` §5, Revoke).
//!
//! Local use stopped when the connection was marked; here the provider is told, as its entry says, until it
//! confirms or that turns out to be impossible. Only then are the tokens forgotten, and never while an
//! attempt to refresh them is open: what such an attempt still brings must be revoked too.

use std::time::Duration;

use latchkey_domain::{
    Timestamp,
    refresh::{self, Class, Ended},
    states::GrantState,
};
use latchkey_jobs::{
    Outcome,
    kinds::{RevokeGrant, revoke_grant::RevocationReceipt},
};
use latchkey_oauth::{
    HttpAnswer, HttpError, HttpRequest, RequestError, RevokeOutcome, TokenSet,
    answer::TOKEN_ANSWER_BYTES, read_revocation, retry_after, revoke_requests,
};
use latchkey_runtime::{Context, SealError};
use latchkey_store::{
    CloseAttempt, GrantKey, GrantRow, GrantSecret, JsonMap, LoadedGrant, StoreError,
};
use latchkey_telemetry::{Chain, RefreshOutcome};
use secrecy::ExposeSecret;

use crate::{
    Worker,
    client::{self, ClientError, OauthClient},
    fault::point,
    register::Handler,
    runner::{Attempt, Failure},
};

/// When an open attempt is looked at again, beyond its lease: its holder needs a moment to close it.
const AFTER_LEASE: Duration = Duration::from_secs(1);
/// How long a revocation waits for an auth config that its provider refuses.
const OPERATOR_WAIT: Duration = Duration::from_secs(3600);

/// How a revocation ended: the words of [`RevocationReceipt::outcome`].
struct Over {
    outcome: &'static str,
    statuses: Vec<u16>,
    /// Where the end user removes the application by hand, if that is left to do.
    help_url: Option<String>,
}

const CONFIRMED: &str = "confirmed";
const ALREADY_DEAD: &str = "already_dead";
const NOT_SUPPORTED: &str = "not_supported";
const SHARED: &str = "shared";
const IMPOSSIBLE: &str = "impossible";

impl From<&'static str> for Over {
    fn from(outcome: &'static str) -> Self {
        Self {
            outcome,
            statuses: Vec::new(),
            help_url: None,
        }
    }
}

fn internal(error: &(dyn std::error::Error + 'static)) -> Outcome {
    Outcome::retry("INTERNAL", Chain(error))
}

impl Handler for RevokeGrant {
    async fn run(self, worker: &Worker, attempt: &Attempt) -> Outcome {
        let over = Revocation::new(worker, attempt, &self).run().await;
        match over {
            Ok(over) => end(worker, attempt, &over).await,
            Err(outcome) => outcome,
        }
    }

    /// Impossible: the tokens are forgotten all the same, and the receipt says so.
    async fn gave_up(self, worker: &Worker, attempt: &Attempt, failure: Failure) -> Failure {
        let (ctx, key) = (&worker.ctx, Revocation::new(worker, attempt, &self).key);
        if let Ok(Some(loaded)) = ctx.store.load_grant(key).await
            && let Err(error) = ctx
                .store
                .forget_grant(key, loaded.row.version, ctx.now())
                .await
        {
            tracing::error!(grant = %key.id, error = %Chain(&error), "its tokens were not forgotten");
        }
        let result = receipt(worker, attempt, &IMPOSSIBLE.into()).await.ok();
        Failure { result, ..failure }
    }
}

/// Ends the job with its receipt.
async fn end(worker: &Worker, attempt: &Attempt, over: &Over) -> Outcome {
    match receipt(worker, attempt, over).await {
        Ok(sealed) if over.outcome == IMPOSSIBLE => Outcome::Fail {
            code: "PROVIDER_ERROR".to_owned(),
            error: format!(
                "the provider refused the revocation for good: {:?}",
                over.statuses
            ),
            result: Some(sealed),
        },
        Ok(sealed) => Outcome::Done(Some(sealed)),
        Err(error) => internal(&error),
    }
}

async fn receipt(worker: &Worker, attempt: &Attempt, over: &Over) -> Result<Vec<u8>, SealError> {
    let receipt = RevocationReceipt {
        outcome: over.outcome.to_owned(),
        statuses: over.statuses.clone(),
        help_url: over.help_url.clone(),
    };
    #[expect(clippy::expect_used, reason = "texts and numbers always serialize")]
    let bytes = serde_json::to_vec(&receipt).expect("a receipt is plain JSON");
    let job = &attempt.job;
    worker
        .ctx
        .sealer
        .seal(
            job.partner,
            "jobs",
            "result",
            &job.id.to_string(),
            0,
            &bytes,
        )
        .await
}

/// One attempt to revoke one grant.
struct Revocation<'a> {
    ctx: &'a Context,
    worker: &'a Worker,
    kind: &'a RevokeGrant,
    key: GrantKey,
}

impl<'a> Revocation<'a> {
    fn new(worker: &'a Worker, attempt: &Attempt, kind: &'a RevokeGrant) -> Self {
        Self {
            ctx: &worker.ctx,
            worker,
            kind,
            key: GrantKey {
                partner_id: attempt.job.partner,
                id: kind.grant,
            },
        }
    }

    /// Revokes and forgets; the error is the job's outcome where that is not done.
    async fn run(&self) -> Result<Over, Outcome> {
        let loaded = self
            .ctx
            .store
            .load_grant(self.key)
            .await
            .map_err(|e| internal(&e))?;
        let Some(loaded) = loaded else {
            return Ok(ALREADY_DEAD.into());
        };
        match loaded.row.state {
            GrantState::Revoking => {}
            GrantState::Revoked => return Ok(ALREADY_DEAD.into()),
            GrantState::Active | GrantState::NeedsReauth => {
                return Err(Outcome::fail(
                    "CONFLICT",
                    "the connection was not disconnected",
                ));
            }
        }
        if let Some(until) = self.still_open(&loaded).await.map_err(|e| internal(&e))? {
            return Err(Outcome::Snooze {
                until,
                reason: "a refresh of the grant is under way".into(),
            });
        }
        let over = match &loaded.secret {
            Some(secret) => self.revoke(&loaded.row, secret).await?,
            None => ALREADY_DEAD.into(),
        };
        point("revoke::confirmed");
        let (version, now) = (loaded.row.version, self.ctx.now());
        let forgotten = self.ctx.store.forget_grant(self.key, version, now).await;
        if forgotten.map_err(|e| internal(&e))? {
            return Ok(over);
        }
        Err(Outcome::Snooze {
            until: now + AFTER_LEASE,
            reason: "newer tokens landed, to be revoked too".into(),
        })
    }

    /// Until when an attempt to refresh the grant may still bring tokens. One whose holder stayed silent
    /// beyond the patience is closed here.
    async fn still_open(&self, loaded: &LoadedGrant) -> Result<Option<Timestamp>, StoreError> {
        let (now, timings) = (self.ctx.now(), self.ctx.config.refresh.timings());
        let LoadedGrant { row, open, .. } = loaded;
        let Some(open) = open else {
            return Ok(None);
        };
        if open.lease_until > now {
            return Ok(Some(open.lease_until + AFTER_LEASE));
        }
        if open.sweeps < timings.patience_sweeps {
            return Ok(Some(now + timings.sweep));
        }
        let close = CloseAttempt {
            grant: self.key,
            version: row.version,
            attempt: open.attempt,
            closing: refresh::close(Ended::Unknown, Class::Transient, row.in_doubt),
            retry_at: None,
            failures: row.failures,
            last_failure: row.last_failure.clone(),
            outcome: RefreshOutcome::InDoubt.as_str(),
            took: None,
            due_at: None,
            now,
        };
        let closed = self.ctx.store.close_attempt(close).await?;
        Ok((!closed).then_some(now + AFTER_LEASE))
    }

    async fn revoke(&self, row: &GrantRow, secret: &GrantSecret) -> Result<Over, Outcome> {
        let (ctx, partner) = (self.ctx, self.key.partner_id);
        let client = match self.worker.clients.get(partner, row.auth_config_id).await {
            Ok(client) => client,
            Err(ClientError::Gone | ClientError::NoProvider(_)) => return Ok(IMPOSSIBLE.into()),
            Err(error) => return Err(internal(&error)),
        };
        let connection = ctx
            .store
            .get_connection(partner, self.kind.connection)
            .await;
        let connection = connection.map_err(|e| internal(&e))?.map(|found| found.row);
        if client.config.client_id.is_empty() {
            // A key or password that was given: nobody but its giver can take it back.
            return Ok(NOT_SUPPORTED.into());
        }
        let spec = client.spec().map_err(|e| internal(&e))?;
        let reaches_siblings = spec
            .revoke
            .as_ref()
            .is_some_and(|revoke| revoke.blast_radius.reaches_siblings());
        if reaches_siblings && let Some(connection) = &connection {
            let siblings = ctx.store.living_siblings(connection).await;
            if siblings.map_err(|e| internal(&e))? > 0 {
                return Ok(SHARED.into());
            }
        }
        let tokens = self.open(secret).await?;
        let params = connection.map(|row| row.params).unwrap_or_default();
        self.send(&client, &params, &tokens).await
    }

    async fn open(&self, secret: &GrantSecret) -> Result<TokenSet, Outcome> {
        let (partner, row) = (self.key.partner_id, self.key.id.to_string());
        let opened = self
            .ctx
            .sealer
            .open(
                partner,
                "grant_secrets",
                "sealed",
                &row,
                secret.version,
                &secret.sealed,
            )
            .await
            .map_err(|e| internal(&e))?;
        TokenSet::from_bytes(opened.expose_secret()).map_err(|e| internal(&e))
    }

    /// Sends every revocation that the entry asks for.
    async fn send(
        &self,
        client: &OauthClient,
        params: &JsonMap,
        tokens: &TokenSet,
    ) -> Result<Over, Outcome> {
        let spec = client.spec().map_err(|e| internal(&e))?;
        let requests = match revoke_requests(spec, &client.client(params, &tokens.extra), tokens) {
            Ok(requests) => requests,
            Err(RequestError::Unsupported(_)) => {
                return Ok(Over {
                    help_url: spec.disconnect_help_url.clone(),
                    ..NOT_SUPPORTED.into()
                });
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the revocation cannot be built");
                return Ok(IMPOSSIBLE.into());
            }
        };
        let mut over = Over::from(ALREADY_DEAD);
        for request in requests {
            let answer = send(self.ctx, request.request)
                .await
                .map_err(|error| Outcome::retry("PROVIDER_UNAVAILABLE", Chain(&error)))?;
            over.statuses.push(answer.status.as_u16());
            match read_revocation(spec, &answer, self.ctx.now()) {
                RevokeOutcome::Confirmed => over.outcome = CONFIRMED,
                RevokeOutcome::AlreadyGone => {}
                RevokeOutcome::Failed {
                    class: Class::Permanent,
                    ..
                } => {
                    over.outcome = IMPOSSIBLE;
                    over.help_url.clone_from(&spec.disconnect_help_url);
                    return Ok(over);
                }
                RevokeOutcome::Failed {
                    status,
                    code,
                    class,
                } => {
                    if class == Class::Operator {
                        client::pause(self.ctx, client, &code).await;
                    }
                    return Err(self.later(&answer, status, &code, class));
                }
            }
        }
        Ok(over)
    }

    fn later(&self, answer: &HttpAnswer, status: u16, code: &str, class: Class) -> Outcome {
        let now = self.ctx.now();
        let named = retry_after(&answer.headers, now).map(|at| now.until(at));
        let after = match class {
            Class::Operator => Some(OPERATOR_WAIT),
            Class::RateLimited(at) => named.or(Some(now.until(at))),
            Class::Permanent | Class::Transient => named,
        };
        Outcome::Retry {
            after,
            code: "PROVIDER_ERROR".to_owned(),
            error: format!("the provider answered {status} {code}"),
        }
    }
}

async fn send(ctx: &Context, request: HttpRequest) -> Result<HttpAnswer, HttpError> {
    ctx.http
        .send(request, ctx.config.refresh.timeout, TOKEN_ANSWER_BYTES)
        .await
}

/// Revokes tokens that were never stored, once and as well as it goes; returns what was answered. Where one
/// revocation reaches beyond the grant, they are left to their end instead.
pub(super) async fn revoke_unstored(
    ctx: &Context,
    client: &OauthClient,
    params: &JsonMap,
    tokens: &TokenSet,
) -> Vec<u16> {
    let mut statuses = Vec::new();
    let Ok(spec) = client.spec() else {
        return statuses;
    };
    let revoke = spec.revoke.as_ref();
    if revoke.is_none_or(|revoke| revoke.blast_radius.reaches_siblings()) {
        return statuses;
    }
    let requests = revoke_requests(spec, &client.client(params, &tokens.extra), tokens);
    for request in requests.unwrap_or_default() {
        if let Ok(answer) = send(ctx, request.request).await {
            statuses.push(answer.status.as_u16());
        }
    }
    statuses
}
