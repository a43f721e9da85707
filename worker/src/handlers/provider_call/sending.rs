//! Sending a call: once, and again only where that cannot do something twice.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use latchkey_domain::{CallId, Timestamp, backoff::Backoff, states::CallOutcome};
use latchkey_jobs::{
    Outcome,
    kinds::provider_call::{CallResult, MinuteLeft},
};
use latchkey_limits::BudgetKey;
use latchkey_oauth::{
    HttpAnswer, HttpError, HttpRequest,
    http::{Lost, NotSent},
};
use latchkey_providers::{Provider, RateScope, answer_headers};

use super::{
    Call, With,
    ending::{Answered, Ended, Fault},
};
use crate::{
    gate::{Entered, Refusal},
    refresh::{FreshToken, NotFresh},
};

/// Repeats within one attempt, where the connection failed: what is wrong for longer is the next attempt's.
const MAX_REPEATS: u32 = 2;
const REPEAT_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(1),
};

/// Longest wait for the provider's budget before a repeat: the budgets that are counted by the second are back by
/// then, and a slot of the worker is not held for longer.
const LONGEST_TURN: Duration = Duration::from_secs(2);
/// Times that it is asked for: others take from it too.
const MAX_TURNS: u32 = 5;

/// What came of sending.
pub(super) struct Sent {
    /// The answer, or why there is none.
    pub(super) answer: Result<HttpAnswer, HttpError>,
    /// The grant turned out to be dead, with this reason.
    pub(super) dead: Option<String>,
    /// Time at the provider.
    pub(super) took: Duration,
    /// What the plan had left when the request went out.
    minute: MinuteLeft,
}

/// What it means.
pub(super) struct Verdict {
    /// For the receipt.
    pub(super) outcome: CallOutcome,
    /// The provider's status, if it answered.
    pub(super) status: Option<u16>,
    /// Whether another attempt could end otherwise and do no harm.
    pub(super) passes: bool,
    result: Result<(CallResult, Bytes, MinuteLeft), Fault>,
}

impl Call<'_> {
    /// Sends the request. It is repeated after a 401, which was not acted on, with a newer token; where no
    /// byte left this process; and where the connection broke, if it is `repeatable`. Each repeat needs a
    /// permit of its own.
    pub(super) async fn send(
        &self,
        with: &With,
        mut fresh: FreshToken,
        mut request: HttpRequest,
        mut entered: Entered,
        repeatable: bool,
    ) -> Sent {
        let (clock, gate) = (&self.ctx.clock, &self.worker.gate);
        let (mut took, mut repeats) = (Duration::ZERO, 0);
        let (begun, mut renewals) = (self.ctx.now(), 0);
        loop {
            let began = clock.monotonic();
            let limit = self.ctx.config.http.call_answer_max_bytes;
            let answer = self.ctx.http.send(request, self.timeout(), limit).await;
            let now = clock.monotonic();
            took += now.saturating_sub(began);
            gate.leave(&with.key, now, &entered, is_well(&answer));
            let minute = entered.minute;
            drop(entered);
            self.heed(with, &answer).await;
            let mut sent = Sent {
                answer,
                dead: None,
                took,
                minute,
            };
            // A newer one that is older than the call (opened here before others refreshed twice, or taken over from
            // another connection) may be dead for the same reason: then once more.
            let is_older = fresh.tokens.issued_at < begun;
            let may_renew = renewals == 0 || (renewals == 1 && is_older);
            if may_renew && sent.is_unauthorized(with) {
                renewals += 1;
                match self.renewed(with, &fresh).await {
                    Ok(Some(newer)) => fresh = newer,
                    Ok(None) => return sent,
                    Err(dead) => {
                        sent.dead = dead;
                        return sent;
                    }
                }
            } else if renewals > 0 && sent.is_unauthorized(with) {
                let (refresher, grant) = (&self.worker.refresher, with.connection.grant.id);
                refresher
                    .not_mended(self.partner(), grant, fresh.version)
                    .await;
                return sent;
            } else if repeats < MAX_REPEATS && sent.may_repeat(repeatable) {
                repeats += 1;
                let wait = REPEAT_BACKOFF.wait(repeats, &*self.ctx.entropy);
                tokio::time::sleep(wait).await;
            } else {
                return sent;
            }
            if self.timeout().is_zero() {
                return sent;
            }
            let Some(next) = self.again(with, &fresh).await else {
                return sent;
            };
            (request, entered) = next;
        }
    }

    /// Takes in what the answer says of the provider's limits.
    async fn heed(&self, with: &With, answer: &Result<HttpAnswer, HttpError>) {
        let (Ok(answer), Ok((provider, _))) = (answer, self.entry(with)) else {
            return;
        };
        let now = self.ctx.now();
        if let Some(until) = provider.rate.read(answer, now).spent_until(now) {
            let budget = match provider.rate.scope {
                RateScope::App => BudgetKey::App(with.key.auth_config),
                RateScope::User => BudgetKey::User(with.connection.row.id),
            };
            self.worker.gate.spent(budget, until, now).await;
        }
    }

    /// The request once more and leave to send it, if both can be had. A budget that is back in a moment is waited
    /// for: else a call would end with a refusal that the newer token mends.
    async fn again(&self, with: &With, fresh: &FreshToken) -> Option<(HttpRequest, Entered)> {
        let (_, service) = self.entry(with).ok()?;
        let request = self.build(with, service, fresh).ok()?;
        let plan = self.plan().await.ok()?;
        for _ in 0..MAX_TURNS {
            let wait = match self.ask_gate(with, &plan).await.ok()? {
                Ok(entered) => return Some((request, entered)),
                Err(Refusal::Budget(wait) | Refusal::Full(wait)) => wait,
                Err(_) => return None,
            };
            if wait > LONGEST_TURN || wait >= self.timeout() {
                return None;
            }
            tokio::time::sleep(wait).await;
        }
        None
    }

    /// A token newer than the refused one, or the reason why the grant is dead.
    async fn renewed(
        &self,
        with: &With,
        used: &FreshToken,
    ) -> Result<Option<FreshToken>, Option<String>> {
        let grant = with.connection.grant.id;
        let renew = self
            .worker
            .refresher
            .after_401(self.partner(), grant, used.version);
        let renewed = match self.time_left() {
            Some(left) => tokio::time::timeout(left, renew).await,
            None => Ok(renew.await),
        };
        match renewed {
            Ok(Ok(newer)) if newer.version != used.version => Ok(Some(newer)),
            Ok(Err(NotFresh::NeedsReauth { reason })) => Err(Some(reason)),
            // The refusal itself is then the answer.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// How long one request may take.
    fn timeout(&self) -> Duration {
        let most = self.ctx.config.calls.timeout;
        self.time_left().map_or(most, |left| left.min(most))
    }
}

/// What a breaker counts: a provider that answers anything but a 5xx is there.
fn is_well(answer: &Result<HttpAnswer, HttpError>) -> bool {
    match answer {
        Ok(answer) => !answer.status.is_server_error(),
        Err(HttpError::TooLarge { .. }) => true,
        Err(HttpError::Lost { .. }) => false,
        // Refused by our own guard: that says nothing of the provider.
        Err(HttpError::NotSent { reason, .. }) => {
            !matches!(reason, NotSent::Dns | NotSent::Connect)
        }
    }
}

impl Sent {
    /// Whether the provider refused the access token: by 401, or as its entry says.
    fn is_unauthorized(&self, with: &With) -> bool {
        let Ok(answer) = &self.answer else {
            return false;
        };
        match with.client.provider() {
            Ok(provider) => provider.is_unauthorized(answer),
            Err(_) => answer.status == StatusCode::UNAUTHORIZED,
        }
    }

    fn may_repeat(&self, repeatable: bool) -> bool {
        match &self.answer {
            Err(HttpError::NotSent { reason, .. }) => {
                matches!(reason, NotSent::Dns | NotSent::Connect)
            }
            // One that took all its time would take it again.
            Err(HttpError::Lost { reason, .. }) => repeatable && *reason == Lost::Cut,
            Ok(_) | Err(HttpError::TooLarge { .. }) => false,
        }
    }

    /// What it means for receipt and caller.
    pub(super) fn verdict(&self, provider: &Provider, repeatable: bool, now: Timestamp) -> Verdict {
        match &self.answer {
            Ok(answer) => self.answered(provider, answer, now),
            Err(HttpError::TooLarge { status, limit }) => Verdict {
                outcome: CallOutcome::Answered,
                status: Some(*status),
                passes: false,
                result: Err(Fault::new(
                    "PAYLOAD_TOO_LARGE",
                    format!("the provider answered {status} with more than {limit} bytes"),
                )),
            },
            Err(HttpError::NotSent { reason, .. }) => {
                let passes = matches!(reason, NotSent::Dns | NotSent::Connect);
                let code = if passes {
                    "PROVIDER_UNAVAILABLE"
                } else {
                    "PROVIDER_ERROR"
                };
                Verdict {
                    outcome: CallOutcome::NotSent,
                    status: None,
                    passes,
                    result: Err(Fault::new(
                        code,
                        format!("the request was not sent: {reason}"),
                    )),
                }
            }
            Err(HttpError::Lost { reason, .. }) => Verdict {
                outcome: CallOutcome::Unknown,
                status: None,
                passes: repeatable,
                result: Err(match reason {
                    _ if !repeatable => Fault::outcome_unknown(),
                    Lost::TimedOut => {
                        Fault::new("PROVIDER_TIMEOUT", "the provider did not answer in time")
                    }
                    Lost::Cut => Fault::new("PROVIDER_ERROR", "the provider cut the connection"),
                }),
            },
        }
    }

    fn answered(&self, provider: &Provider, answer: &HttpAnswer, now: Timestamp) -> Verdict {
        let status = answer.status.as_u16();
        let limited_until = provider.rate.read(answer, now).limited_until;
        let headers = answer_headers(&answer.headers);
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)));
        let answered = CallResult::Answered {
            status,
            headers: headers.collect(),
            limited_for_s: limited_until.map(|at| now.until(at).as_secs()),
        };
        Verdict {
            outcome: CallOutcome::Answered,
            status: Some(status),
            passes: false,
            result: match &self.dead {
                Some(reason) => Err(Fault::needs_reauth(reason.clone())),
                None => Ok((answered, answer.body.clone(), self.minute)),
            },
        }
    }
}

impl Verdict {
    /// How the call ends: with its result, or with another attempt.
    pub(super) fn end(self, call: CallId, again: bool) -> Ended {
        match self.result {
            Ok((result, body, minute)) => Ended::Answered(Box::new(Answered {
                call,
                result,
                body,
                minute,
            })),
            Err(fault) if again => Ended::Later(Outcome::retry(fault.code, fault.message)),
            Err(fault) => fault.into(),
        }
    }
}
