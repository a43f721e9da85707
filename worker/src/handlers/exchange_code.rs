//! Exchanges the code of a connect session for tokens, and stores the connection (`architecture.md` §5,
//! Connect).
//!
//! A code is sent once: the session is marked before it leaves, so a second attempt (a message that came
//! twice, a process that died) finds the mark and fails the session instead of sending again. Whatever ends
//! here, the session ends with it, and the browser that waits at the callback is told.

mod storing;

use latchkey_domain::{SessionId, refresh::Class, states::SessionStatus};
use latchkey_jobs::{
    Outcome,
    kinds::{ExchangeCode, exchange_code::ExchangeAnswer},
};
use latchkey_oauth::{
    Asked, CodeExchange, HttpAnswer, HttpError, HttpRequest, Identity, RequestError, TokenError,
    TokenSet, exchange_request, identity_in_tokens, identity_request, parse_identity, parse_sites,
    parse_tokens, sites_request,
};
use latchkey_store::{JsonMap, SessionRow, StoreError};
use latchkey_telemetry::Chain;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Worker,
    client::{self, OauthClient},
    fault::point,
    introspection::ask_end,
    register::Handler,
    runner::{Attempt, Failure},
};

/// The code could not be turned into a connection.
const EXCHANGE_FAILED: &str = "token_exchange_failed";
/// The code was too old to be sent; the user begins again.
const EXPIRED: &str = "session_expired";
/// The provider could not be reached, or asked for time.
const UNAVAILABLE: &str = "provider_unavailable";

/// Why a session failed.
pub(super) struct Failed {
    /// What the redirect says.
    pub(super) code: &'static str,
    /// For the job's row and the log.
    pub(super) error: String,
}

impl Failed {
    fn new(code: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            code,
            error: Chain(error).to_string(),
        }
    }

    pub(super) fn exchange(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(EXCHANGE_FAILED, error)
    }
}

impl Handler for ExchangeCode {
    async fn run(self, worker: &Worker, attempt: &Attempt) -> Outcome {
        let partner = attempt.job.partner;
        let session = match worker
            .ctx
            .store
            .get_partner_session(partner, self.session)
            .await
        {
            Ok(Some(session)) => session,
            Ok(None) => return Outcome::fail("NOT_FOUND", "the connect session does not exist"),
            Err(error) => return Outcome::retry("INTERNAL", Chain(&error)),
        };
        match session.status {
            SessionStatus::Exchanging => {}
            SessionStatus::Completed => {
                answer(worker, attempt, None).await;
                return Outcome::DONE;
            }
            other => {
                let error = session.error.as_deref().unwrap_or(EXCHANGE_FAILED);
                answer(worker, attempt, Some(error)).await;
                return Outcome::fail(error, format!("the connect session is {other}"));
            }
        }
        let exchange = Exchange {
            worker,
            session,
            given: false,
        };
        match exchange.run().await {
            Ok(()) => {
                point("exchange::stored");
                answer(worker, attempt, None).await;
                Outcome::DONE
            }
            Err(failed) => match end(worker, attempt, self.session, failed.code).await {
                Ok(_) => Outcome::fail(failed.code, failed.error),
                // A session must not stay at `exchanging`: another attempt only ends it.
                Err(error) => Outcome::retry(failed.code, Chain(&error)),
            },
        }
    }

    async fn gave_up(self, worker: &Worker, attempt: &Attempt, failure: Failure) -> Failure {
        if let Err(error) = end(worker, attempt, self.session, EXCHANGE_FAILED).await {
            tracing::error!(session = %self.session, error = %Chain(&error), "a session was left open");
        }
        failure
    }
}

/// Fails the session and tells the callback.
pub(super) async fn end(
    worker: &Worker,
    attempt: &Attempt,
    session: SessionId,
    code: &str,
) -> Result<bool, StoreError> {
    let (ctx, partner) = (&worker.ctx, attempt.job.partner);
    let ended = ctx
        .store
        .fail_session(partner, session, code, ctx.now())
        .await;
    answer(worker, attempt, Some(code)).await;
    ended
}

pub(super) async fn answer(worker: &Worker, attempt: &Attempt, error: Option<&str>) {
    let Some(reply) = attempt.job.reply_to else {
        return;
    };
    let answer = ExchangeAnswer {
        error: error.map(str::to_owned),
    };
    match serde_json::to_vec(&answer) {
        Ok(bytes) => worker.ctx.replies.send(reply, bytes.into()).await,
        // Two texts; the callback's page polls the session anyway.
        Err(error) => tracing::error!(%error, "the answer does not serialize"),
    }
}

/// One exchange of a session that waits for it.
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Worker,
    pub(super) session: SessionRow,
    /// The credentials were given rather than exchanged: they are not ours to revoke if they are not kept.
    pub(super) given: bool,
}

impl Exchange<'_> {
    async fn run(&self) -> Result<(), Failed> {
        let session = &self.session;
        let client = self
            .worker
            .clients
            .get(session.partner_id, session.auth_config_id)
            .await;
        let client = client.map_err(|e| Failed::exchange(&e))?;
        let mut tokens = self.exchange(&client).await?;
        point("exchange::answered");
        self.introspect(&client, &mut tokens).await?;
        let mut identity = self.identity(&client, &tokens).await?;
        self.site(&client, &mut tokens, &mut identity).await?;
        self.store(&client, &tokens, &identity).await
    }

    /// Sends the code, once in all.
    async fn exchange(&self, client: &OauthClient) -> Result<TokenSet, Failed> {
        let (ctx, session) = (&self.worker.ctx, &self.session);
        let spec = client.spec().map_err(|e| Failed::exchange(&e))?;
        // Where the entry says how long a code works, the session ends with its code.
        if spec.token.code_ttl_s.is_some() && session.expires_at <= ctx.now() {
            return Err(Failed {
                code: EXPIRED,
                error: "the code's life was over before it could be sent".into(),
            });
        }
        let code = self.open("code", session.code.as_deref()).await?;
        let verifier = self.open("verifier", session.verifier.as_deref()).await?;
        let redirect_uri = format!(
            "{}/api/v1/connect/callback/{}",
            ctx.config.public_origin(),
            session.auth_config_id
        );
        let none = JsonMap::new();
        let request = exchange_request(
            spec,
            &client.client(&session.params, &none),
            &CodeExchange {
                code: &code,
                verifier: &verifier,
                redirect_uri: &redirect_uri,
            },
        )
        .map_err(|e| Failed::exchange(&e))?;
        // From here on nothing but the answer of this one request can complete the session.
        let marked = ctx
            .store
            .mark_code_sent(session.partner_id, session.id, ctx.now())
            .await;
        if !marked.map_err(|e| Failed::exchange(&e))? {
            return Err(Failed {
                code: EXCHANGE_FAILED,
                error: "the code was sent before and its answer was lost; it is not sent again"
                    .into(),
            });
        }
        point("exchange::marked");
        let sent = ctx
            .http
            .send(
                request,
                ctx.config.refresh.timeout,
                latchkey_oauth::answer::TOKEN_ANSWER_BYTES,
            )
            .await;
        let answer = sent.map_err(|error| match &error {
            HttpError::NotSent { .. } => Failed::new(UNAVAILABLE, &error),
            HttpError::Lost { .. } | HttpError::TooLarge { .. } => Failed::exchange(&error),
        })?;
        let asked = Asked::Code {
            scopes: &session.scopes,
        };
        match parse_tokens(spec, &answer, asked, ctx.now()) {
            Ok(tokens) => Ok(tokens),
            Err(error) => Err(self.refused(client, &error).await),
        }
    }

    /// What a refusal of the token endpoint means for the session.
    async fn refused(&self, client: &OauthClient, error: &TokenError) -> Failed {
        if error.class == Class::Operator {
            client::pause(&self.worker.ctx, client, &error.code).await;
        }
        // A success that cannot be read, and what no rule knows, are final for a code: it is not sent again.
        let passes = error.status >= 300 && !error.suspicious;
        let code = match (error.code.as_str(), error.class) {
            ("invalid_scope", _) => "invalid_scope",
            ("access_denied", _) => "access_denied",
            (_, Class::RateLimited(_) | Class::Transient) if passes => UNAVAILABLE,
            _ => EXCHANGE_FAILED,
        };
        Failed::new(code, error)
    }

    pub(super) async fn open(
        &self,
        column: &'static str,
        sealed: Option<&[u8]>,
    ) -> Result<SecretString, Failed> {
        let session = &self.session;
        // A provider without PKCE has no verifier.
        let Some(sealed) = sealed else {
            return Ok(SecretString::default());
        };
        let row = session.id.to_string();
        let opened = self
            .worker
            .ctx
            .sealer
            .open(
                session.partner_id,
                "connect_sessions",
                column,
                &row,
                0,
                sealed,
            )
            .await
            .map_err(|e| Failed::exchange(&e))?;
        let text = std::str::from_utf8(opened.expose_secret());
        text.map(Into::into).map_err(|_| Failed {
            code: EXCHANGE_FAILED,
            error: format!("the session's {column} is no text"),
        })
    }

    /// Who connected.
    pub(super) async fn identity(
        &self,
        client: &OauthClient,
        tokens: &TokenSet,
    ) -> Result<Identity, Failed> {
        let spec = client.spec().map_err(|e| Failed::exchange(&e))?;
        let credentials = client.client(&self.session.params, &tokens.extra);
        let now = self.worker.ctx.now();
        if let Some(said) = identity_in_tokens(spec, &credentials, tokens, now) {
            return said.map_err(|e| Failed::exchange(&e));
        }
        let answer = self
            .ask(client, tokens, || {
                identity_request(spec, &credentials, tokens)
            })
            .await?;
        match answer {
            Some(answer) => parse_identity(spec, &answer).map_err(|e| Failed::exchange(&e)),
            None => Ok(Identity {
                key: String::new(),
                label: None,
            }),
        }
    }

    /// When the access token ends, where the provider must be asked.
    pub(super) async fn introspect(
        &self,
        client: &OauthClient,
        tokens: &mut TokenSet,
    ) -> Result<(), Failed> {
        let ctx = &self.worker.ctx;
        let spec = client.spec().map_err(|e| Failed::exchange(&e))?;
        let kept = tokens.extra.clone();
        let credentials = client.client(&self.session.params, &kept);
        ask_end(ctx, spec, &credentials, tokens, ctx.now()).await;
        Ok(())
    }

    /// Which of several sites the connection is for; its name becomes part of the label.
    async fn site(
        &self,
        client: &OauthClient,
        tokens: &mut TokenSet,
        identity: &mut Identity,
    ) -> Result<(), Failed> {
        let spec = client.spec().map_err(|e| Failed::exchange(&e))?;
        let credentials = client.client(&self.session.params, &tokens.extra);
        let answer = self
            .ask(client, tokens, || sites_request(spec, &credentials, tokens))
            .await?;
        let Some(answer) = answer else {
            return Ok(());
        };
        let (name, id, label) = parse_sites(spec, &answer).map_err(|e| Failed::exchange(&e))?;
        identity.key = format!("{id}:{}", identity.key);
        if let Some(site) = label {
            let who = identity.label.take().unwrap_or_default();
            identity.label = Some(format!("{who} ({site})"));
        }
        tokens.extra.insert(name, id.into());
        Ok(())
    }

    /// Asks something that changes nothing, twice if need be; `None` where the entry asks nothing.
    async fn ask(
        &self,
        client: &OauthClient,
        tokens: &TokenSet,
        build: impl Fn() -> Result<Option<HttpRequest>, RequestError>,
    ) -> Result<Option<HttpAnswer>, Failed> {
        let ctx = &self.worker.ctx;
        let provider = client.provider().map_err(|e| Failed::exchange(&e))?;
        let identity = client
            .spec()
            .map_err(|e| Failed::exchange(&e))?
            .identity
            .as_ref();
        let place = identity.map_or("authorization", |identity| {
            identity.token_header.name.as_str()
        });
        let mut last = None;
        for _ in 0..2 {
            let Some(mut request) = build().map_err(|e| Failed::exchange(&e))? else {
                return Ok(None);
            };
            let headers = request.request.headers_mut();
            provider
                .present(&tokens.token_type, &tokens.access, place, headers)
                .map_err(|e| Failed::exchange(&e))?;
            let limit = latchkey_oauth::identity::IDENTITY_ANSWER_BYTES;
            let within = ctx.config.refresh.timeout / 2;
            match ctx.http.send(request, within, limit).await {
                Ok(answer) if answer.status.is_server_error() => {
                    last = Some(Failed {
                        code: UNAVAILABLE,
                        error: format!("the identity endpoint answered {}", answer.status),
                    });
                }
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => last = Some(Failed::new(UNAVAILABLE, &error)),
            }
        }
        Err(last.unwrap_or_else(|| Failed {
            code: UNAVAILABLE,
            error: "the identity endpoint did not answer".into(),
        }))
    }
}
