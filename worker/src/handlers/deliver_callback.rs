//! Posts the outcome of an asynchronous call to its `callback_url`, as the Standard Webhooks specification
//! says: a 2xx is success, 410 ends it and stops the address, anything else (redirects too) is tried again on
//! the specification's schedule.
//!
//! The address is the partner's, so it is held to an egress guard of its own: what the operator opened for
//! providers is not open to partners.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use latchkey_domain::{PartnerId, Timestamp};
use latchkey_jobs::{
    Outcome, frame,
    kinds::{DeliverCallback, deliver_callback::SCHEDULE, provider_call::CallAnswer},
};
use latchkey_oauth::{
    AllowedHosts, HttpAnswer, HttpError, HttpRequest, http::NotSent, retry_after,
};
use latchkey_runtime::{Context, SealError};
use latchkey_store::{JobRow, StoreError};
use latchkey_telemetry::Chain;
use latchkey_vault::{WebhookSecret, digest};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use crate::{Worker, register::Handler, runner::Attempt};

/// Bytes of a message: the specification asks for less than 20 kB. A result that does not fit is left out; the
/// message says where it is.
const MESSAGE_MAX: usize = 20_000;
/// Bytes of an answer that are read. Only its status matters.
const ANSWER_MAX: usize = 64 * 1024;
/// How long nothing is posted to an address that answered 410.
const GONE_FOR: Duration = Duration::from_secs(24 * 3600);
/// When a callback that found no room tries again.
const NO_ROOM: Duration = Duration::from_secs(1);

impl Handler for DeliverCallback {
    async fn run(self, worker: &Worker, attempt: &Attempt) -> Outcome {
        let Some(_room) = worker.callbacks.enter(attempt.job.partner) else {
            return Outcome::Snooze {
                until: worker.ctx.now() + NO_ROOM,
                reason: "its partner's other callbacks take all the room it has".into(),
            };
        };
        match Delivery::prepare(&worker.ctx, attempt, &self).await {
            Ok(delivery) => delivery.post(&worker.ctx, attempt).await,
            Err(Broken::Final(error)) => Outcome::fail("INTERNAL", error),
            Err(Broken::Gone) => gone(),
            Err(Broken::Store(error)) => Outcome::retry("INTERNAL", Chain(&error)),
            Err(Broken::Seal(error)) => Outcome::retry("INTERNAL", Chain(&error)),
        }
    }
}

/// Why nothing could be posted.
enum Broken {
    Final(&'static str),
    Gone,
    Store(StoreError),
    Seal(SealError),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SealError> for Broken {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

/// A message with its address and signatures.
struct Delivery {
    address: Url,
    address_hash: [u8; 32],
    id: String,
    at: Timestamp,
    signatures: String,
    body: Bytes,
}

impl Delivery {
    async fn prepare(
        ctx: &Context,
        attempt: &Attempt,
        callback: &DeliverCallback,
    ) -> Result<Self, Broken> {
        let (job, now) = (&attempt.job, ctx.now());
        let sealed = job.sealed.as_deref();
        let sealed = sealed.ok_or(Broken::Final("it has no address"))?;
        let row = job.id.to_string();
        let address = ctx
            .sealer
            .open(job.partner, "jobs", "sealed", &row, 0, sealed)
            .await?;
        let address = std::str::from_utf8(address.expose_secret()).unwrap_or_default();
        let address_hash = digest(address);
        let address = Url::parse(address).map_err(|_| Broken::Final("its address is none"))?;
        let gone = ctx
            .store
            .callback_gone_until(job.partner, address_hash, now)
            .await?;
        if gone.is_some() {
            return Err(Broken::Gone);
        }
        let result = result(ctx, job.partner, callback).await?;
        let body = message(ctx, callback, result);
        // The same for every attempt, so that a receiver knows a message that it has seen.
        let id = format!("msg_{:032x}", job.id.as_u128());
        let mut signatures = Vec::new();
        for row in ctx.store.webhook_secrets(job.partner, now).await? {
            let name = row.id.to_string();
            let place = ("webhook_secrets", "sealed");
            let bytes = ctx
                .sealer
                .open(job.partner, place.0, place.1, &name, 0, &row.sealed)
                .await?;
            let secret = WebhookSecret::from_bytes(bytes.expose_secret());
            signatures.push(secret.sign(&id, now, &body));
        }
        Ok(Self {
            address,
            address_hash,
            id,
            at: now,
            signatures: signatures.join(" "),
            body,
        })
    }

    async fn post(self, ctx: &Context, attempt: &Attempt) -> Outcome {
        let request = Request::post(self.address.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", self.at.as_secs().to_string())
            .header("webhook-signature", &self.signatures)
            .body(self.body.clone());
        let Ok(request) = request else {
            return Outcome::fail("CALLBACK_FAILED", "its address is not usable");
        };
        let request = HttpRequest {
            request,
            hosts: AllowedHosts::of([&self.address]),
        };
        let timeout = ctx.config.callbacks.timeout;
        let answer = ctx.callback_http.send(request, timeout, ANSWER_MAX).await;
        match verdict(&answer, ctx.now()) {
            Verdict::Done => Outcome::DONE,
            Verdict::Gone => {
                let until = ctx.now() + GONE_FOR;
                let (store, partner) = (&ctx.store, attempt.job.partner);
                let marked = store.mark_callback_gone(partner, self.address_hash, until);
                match marked.await {
                    Ok(()) => gone(),
                    Err(error) => Outcome::retry("INTERNAL", Chain(&error)),
                }
            }
            Verdict::Never(why) => Outcome::fail("CALLBACK_FAILED", why),
            Verdict::Again { least, why } => {
                let at = usize::try_from(attempt.number).unwrap_or(usize::MAX);
                let wait = SCHEDULE.get(at.saturating_sub(1)).copied();
                Outcome::Retry {
                    after: wait.map(|wait| wait.max(least)),
                    code: "CALLBACK_FAILED".to_owned(),
                    error: why,
                }
            }
        }
    }
}

fn gone() -> Outcome {
    Outcome::fail(
        "CALLBACK_GONE",
        "the address answered 410 Gone; nothing is posted there for a day",
    )
}

/// What the provider answered, if it did and that is still kept.
async fn result(
    ctx: &Context,
    partner: PartnerId,
    callback: &DeliverCallback,
) -> Result<Option<Value>, Broken> {
    let row = ctx.store.get_job(partner, callback.job).await?;
    let Some((JobRow { id, .. }, sealed)) = row.and_then(|mut row| {
        let sealed = row.result.take()?;
        Some((row, sealed))
    }) else {
        return Ok(None);
    };
    let plain = ctx
        .sealer
        .open(partner, "jobs", "result", &id.to_string(), 0, &sealed)
        .await?;
    let unpacked = frame::unpack::<CallAnswer>(plain.expose_secret());
    let (head, body) = unpacked.map_err(|_| Broken::Final("its result does not read"))?;
    // Nothing larger fits into a message, in whatever form.
    if body.len() > MESSAGE_MAX {
        return Ok(None);
    }
    let readable = head.readable(body);
    Ok(readable.and_then(|answer| serde_json::to_value(answer).ok()))
}

/// The message, with the result if both fit.
fn message(ctx: &Context, callback: &DeliverCallback, result: Option<Value>) -> Bytes {
    let origin = ctx.config.public_origin();
    let with = |result| Bytes::from(callback.message(&origin, result).to_string());
    let whole = with(result);
    if whole.len() <= MESSAGE_MAX {
        return whole;
    }
    with(None)
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Gone,
    /// It would not be sent the next time either.
    Never(String),
    /// Again on the schedule, and not before `least`.
    Again {
        least: Duration,
        why: String,
    },
}

fn verdict(answer: &Result<HttpAnswer, HttpError>, now: Timestamp) -> Verdict {
    let again = |least, why| Verdict::Again { least, why };
    match answer {
        Ok(answer) if answer.status.is_success() => Verdict::Done,
        Ok(answer) if answer.status == StatusCode::GONE => Verdict::Gone,
        Ok(answer) => {
            let least = retry_after(&answer.headers, now).map(|at| now.until(at));
            let why = format!("the address answered {}", answer.status.as_u16());
            again(least.unwrap_or_default(), why)
        }
        // A success with more to say than anyone reads is one.
        Err(HttpError::TooLarge { status, .. }) if (200..300).contains(status) => Verdict::Done,
        Err(HttpError::NotSent { reason, .. })
            if !matches!(reason, NotSent::Dns | NotSent::Connect) =>
        {
            Verdict::Never(format!("nothing was posted: {reason}"))
        }
        Err(error) => again(Duration::ZERO, error.to_string()),
    }
}

/// Callbacks under way, bounded, so that addresses that hang do not take the slots of other work.
#[derive(Debug, Default)]
pub(crate) struct Callbacks(Mutex<HashMap<PartnerId, usize>>);

/// Callbacks under way for all partners: a quarter of the background slots by default.
const AT_ONCE: usize = 16;
/// And for one.
const AT_ONCE_PER_PARTNER: usize = 4;

/// A place among the callbacks under way; dropping it frees it.
pub(crate) struct Room<'a> {
    callbacks: &'a Callbacks,
    partner: PartnerId,
}

impl Callbacks {
    fn enter(&self, partner: PartnerId) -> Option<Room<'_>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = running.values().sum();
        let own = running.get(&partner).copied().unwrap_or_default();
        if all >= AT_ONCE || own >= AT_ONCE_PER_PARTNER {
            return None;
        }
        running.insert(partner, own + 1);
        Some(Room {
            callbacks: self,
            partner,
        })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut running = self
            .callbacks
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = running.get_mut(&self.partner) {
            *own -= 1;
            if *own == 0 {
                running.remove(&self.partner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn answered(status: u16, headers: &[(&'static str, &str)]) -> Verdict {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let answer = HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::new(),
            sent_bytes: 0,
        };
        verdict(&Ok(answer), Timestamp::from_secs(1_800_000_000))
    }

    #[test]
    fn only_a_2xx_is_success_and_410_is_the_end() {
        assert_eq!(answered(204, &[]), Verdict::Done);
        assert_eq!(answered(410, &[]), Verdict::Gone);
        for status in [301, 302, 307, 400, 404, 429, 500, 502, 504] {
            let found = answered(status, &[]);
            assert!(
                matches!(found, Verdict::Again { .. }),
                "{status}: {found:?}"
            );
        }
        let Verdict::Again { least, .. } = answered(429, &[("retry-after", "120")]) else {
            panic!("not tried again");
        };
        assert_eq!(least, Duration::from_secs(120));
    }

    #[test]
    fn one_partner_does_not_take_all_the_room() {
        let callbacks = Callbacks::default();
        let partner = |n| PartnerId::from_u128(n);
        let own: Vec<_> = (0..9).map_while(|_| callbacks.enter(partner(1))).collect();
        assert_eq!(own.len(), AT_ONCE_PER_PARTNER);
        let others: Vec<_> = (2..99).map_while(|n| callbacks.enter(partner(n))).collect();
        assert_eq!(others.len(), AT_ONCE - AT_ONCE_PER_PARTNER);
        drop(own);
        assert!(callbacks.enter(partner(1)).is_some());
    }
}
