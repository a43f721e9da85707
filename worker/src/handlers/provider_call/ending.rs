//! How a call ends, and how its caller learns that: a sealed answer to whoever waits, a sealed result in the
//! job's row.

use std::time::Duration;

use bytes::Bytes;
use latchkey_domain::CallId;
use latchkey_jobs::{
    Outcome, frame,
    kinds::{
        ProviderCall,
        provider_call::{CallAnswer, CallResult, MinuteLeft},
    },
};
use latchkey_runtime::{Context, SealError};
use latchkey_telemetry::Chain;

use super::ledger;
use crate::{
    fault::point,
    runner::{Attempt, Failure},
};

/// How a call ended.
pub(super) enum Ended {
    /// The provider answered.
    Answered(Box<Answered>),
    /// It did not, or was not asked.
    Failed(Fault),
    /// Nobody waits: another attempt follows.
    Later(Outcome),
    /// Another worker has this very call: it answers.
    Elsewhere,
}

/// What the provider answered.
pub(super) struct Answered {
    /// The receipt.
    pub(super) call: CallId,
    /// Status and headers.
    pub(super) result: CallResult,
    /// The body of that.
    pub(super) body: Bytes,
    /// What the plan had left.
    pub(super) minute: MinuteLeft,
}

/// An error of ours, as the caller sees it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// A code of `api.md` §1.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
    reason: Option<String>,
    retry_after: Option<Duration>,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl Fault {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
            retry_after: None,
        }
    }

    /// Something that should not be: the log has it all, the caller a code.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a call could not be made");
        Self::new("INTERNAL", "the call could not be made; nothing was sent")
    }

    pub(super) fn unavailable(message: &str) -> Self {
        Self::new("PROVIDER_UNAVAILABLE", message)
    }

    pub(super) fn disconnected() -> Self {
        Self::new("CONNECTION_NOT_FOUND", "the account is no longer connected")
    }

    pub(super) fn outcome_unknown() -> Self {
        Self::new(
            "OUTCOME_UNKNOWN",
            "the request was sent and its answer was lost; it is not sent again",
        )
    }

    pub(super) fn needs_reauth(reason: String) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new("NEEDS_REAUTH", "the end user must connect again")
        }
    }

    pub(super) fn after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    fn into_result(self) -> CallResult {
        let whole_secs = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        CallResult::Failed {
            code: self.code.to_owned(),
            message: self.message,
            reason: self.reason,
            retry_after_s: self.retry_after.map(whole_secs),
        }
    }
}

/// Tells whoever waits, and names the job's outcome.
pub(super) async fn deliver(
    ctx: &Context,
    attempt: &Attempt,
    kind: &ProviderCall,
    ended: Ended,
) -> Outcome {
    let (call, result, body, minute) = match ended {
        Ended::Answered(answered) => {
            let minute = Some(answered.minute).filter(|_| !attempt.job.durable);
            (answered.call, answered.result, answered.body, minute)
        }
        Ended::Failed(fault) => (kind.call, fault.into_result(), Bytes::new(), None),
        Ended::Later(outcome) => return outcome,
        // A durable one was claimed, so whoever sent it lost its claim: the next attempt finds its receipt.
        Ended::Elsewhere if attempt.job.durable => {
            return Outcome::retry("INTERNAL", "another worker sends this call");
        }
        Ended::Elsewhere => return Outcome::DONE,
    };
    point("call::recorded");
    let failed = match &result {
        CallResult::Answered { .. } => None,
        CallResult::Failed { code, message, .. } => Some((code.clone(), message.clone())),
    };
    let answer = CallAnswer {
        call,
        result,
        minute,
    };
    match hand_over(ctx, attempt, &answer, &body).await {
        Ok(sealed) => match failed {
            None => Outcome::Done(sealed),
            // Kept whole for whoever asks: the reason and the wait beside the code.
            Some((code, error)) => Outcome::Fail {
                code,
                error,
                result: sealed,
            },
        },
        // The receipt is final: another attempt would only find that.
        Err(error) => Outcome::fail("INTERNAL", Chain(&error)),
    }
}

/// Seals the answer for whoever waits and sends it; returns it sealed for the job's row, if there is one.
async fn hand_over(
    ctx: &Context,
    attempt: &Attempt,
    answer: &CallAnswer,
    body: &[u8],
) -> Result<Option<Vec<u8>>, SealError> {
    let job = &attempt.job;
    #[expect(clippy::expect_used, reason = "texts and numbers always serialize")]
    let frame = frame::pack(answer, body).expect("an answer's head is plain JSON");
    let seal = |table, column, row: String| {
        let frame = &frame;
        async move {
            ctx.sealer
                .seal(job.partner, table, column, &row, 0, frame)
                .await
        }
    };
    if let Some(reply) = job.reply_to {
        let sealed = seal("calls", "answer", reply.to_string()).await?;
        ctx.replies.send(reply, sealed.into()).await;
    }
    if !job.durable {
        return Ok(None);
    }
    seal("jobs", "result", job.id.to_string()).await.map(Some)
}

/// No attempt said how it ended. What may have been sent is closed as unknown, and whoever waits is told.
pub(super) async fn gave_up(
    ctx: &Context,
    attempt: &Attempt,
    kind: &ProviderCall,
    failure: Failure,
) -> Failure {
    let failure = if ledger::close_abandoned(ctx, attempt, kind).await {
        let unknown = Fault::outcome_unknown();
        Failure {
            code: unknown.code.to_owned(),
            error: unknown.message,
            result: None,
        }
    } else {
        failure
    };
    let answer = CallAnswer {
        call: kind.call,
        result: CallResult::Failed {
            code: failure.code.clone(),
            message: failure.error.clone(),
            reason: None,
            retry_after_s: None,
        },
        minute: None,
    };
    if let Err(error) = hand_over(ctx, attempt, &answer, &[]).await {
        tracing::error!(error = %Chain(&error), "whoever waits could not be told");
    }
    failure
}
