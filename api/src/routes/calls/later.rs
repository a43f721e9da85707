//! A call that is written down before anyone is told "accepted" (`Prefer: respond-async`, `Prefer: wait=N`,
//! `POST /calls`), so that neither a crash nor a full queue loses it. Whoever asked to wait a while is given
//! the outcome if it comes within that time.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::HeaderName;
use latchkey_domain::{CallId, JobId, PartnerId, states::JobState};
use latchkey_jobs::{
    Signal, Urgency, frame,
    kinds::{
        DeliverCallback, ProviderCall,
        provider_call::{CallAnswer, CallResult, MinuteLeft},
    },
};
use latchkey_store::JobRow;
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretString};

use super::{Call, Shape, answer, preference};
use crate::{
    durable,
    error::{ApiError, Code},
    reply::Result,
    routes::jobs::{self, Accepted},
    state::Api,
};

/// How long a count is trusted. What is accepted meanwhile goes beyond the bound by that much at most.
const KEPT: Duration = Duration::from_secs(2);
/// Partners whose count is kept, some 100 bytes each.
const PARTNERS_KEPT: u64 = 50_000;
/// When it makes sense to try again with a full backlog.
const COME_BACK: Duration = Duration::from_secs(60);

const MINUTE: Duration = Duration::from_secs(60);

const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Jobs that wait, by partner, a moment old.
#[derive(Debug)]
pub(crate) struct Backlogs(Cache<PartnerId, (Duration, u64)>);

impl Default for Backlogs {
    fn default() -> Self {
        Self(Cache::new(PARTNERS_KEPT))
    }
}

impl Backlogs {
    async fn of(&self, api: &Api, partner: PartnerId, most: u64) -> Result<u64> {
        let now = api.ctx.clock.monotonic();
        let known = self.0.get(&partner);
        if let Some((read, count)) = known
            && now.saturating_sub(read) < KEPT
        {
            return Ok(count);
        }
        // Whoever comes meanwhile goes by the last one: a thousand callers would count a thousand times.
        self.0
            .insert(partner, (now, known.map_or(0, |(_, count)| count)));
        let bound = u32::try_from(most).unwrap_or(u32::MAX);
        let count = api.ctx.store.count_waiting(partner, bound).await?;
        self.0.insert(partner, (now, count));
        Ok(count)
    }
}

/// Writes the row, wakes a worker, waits as long as was asked, and answers with the outcome or 202.
pub(super) async fn accept(api: &Api, call: &Call, wait: Duration) -> Result<Response> {
    let (ctx, partner) = (&api.ctx, call.partner.id);
    let most = ctx.config.calls.backlog_max;
    if api.backlogs.of(api, partner, most).await? >= most {
        let text = format!("{most} of your jobs wait, which is the most. Wait for some to end.");
        return Err(ApiError::new(Code::RateLimited, text).retry_after(COME_BACK));
    }
    let kind = call.kind(CallId::new(ctx.now(), &*ctx.entropy));
    let Rows { row, held, minute } = rows(api, call, &kind, wait).await?;
    let is_parked = row.dispatched_at.is_none();
    let mut job = durable::wake_up::<ProviderCall>(api, &row, call.request_id);
    job.urgency = urgency(wait);
    let (id, accepted) = (row.id, Accepted::of(api, &row));
    // Before the row is there, so that its end is not missed.
    let changed = (!wait.is_zero()).then(|| ctx.signals.subscribe(id.as_u128()));
    match held {
        Some(held) => ctx.store.insert_job_then(&row, &held).await?,
        None => drop(ctx.store.insert_job(row).await?),
    }
    if !is_parked {
        durable::push(api, job).await;
    }
    let outcome = match changed {
        Some(changed) => {
            let ended = tokio::time::timeout(wait, ended(api, call, id, changed, wait));
            match ended.await {
                Ok(outcome) => Some(outcome?),
                // Once more: a signal may have been lost.
                Err(_) => outcome(api, call, id).await?,
            }
        }
        None => None,
    };
    let mut response = outcome.unwrap_or_else(|| accepted.into_answer());
    response
        .headers_mut()
        .insert(APPLIED, preference::applied(wait));
    response.extensions_mut().insert(minute);
    Ok(response)
}

/// Which queue it goes through: behind those that somebody waits for, unless somebody waits for it too.
fn urgency(wait: Duration) -> Urgency {
    if wait.is_zero() {
        Urgency::Background
    } else {
        Urgency::Interactive
    }
}

/// What is written down of a call.
struct Rows {
    row: JobRow,
    /// The callback, held until the call has ended.
    held: Option<JobRow>,
    /// What the plan has left.
    minute: MinuteLeft,
}

async fn rows(api: &Api, call: &Call, kind: &ProviderCall, wait: Duration) -> Result<Rows> {
    let (ctx, partner) = (&api.ctx, call.partner.id);
    let mut row = JobRow {
        visible: true,
        urgency: urgency(wait).as_str().to_owned(),
        account_id: Some(call.reached.account.id),
        provider: Some(call.provider.clone()),
        service: Some(call.service.clone()),
        action: Some(call.endpoint.clone()),
        ..durable::row(api, partner, call.request_id, kind)?
    };
    let plain = frame::pack(&call.request, &call.body).map_err(ApiError::internal)?;
    row.sealed = Some(seal(api, &row, &plain).await?);
    // Beyond the partner's rate and burst it is parked: the scheduler releases what waits, in turn with others'.
    // Permits alone would not do: many may be accepted before the first of them takes its own.
    let plan = &call.partner.plan;
    let turn = ctx.limits.turn(partner, plan).await;
    let early = if turn.permit.allowed {
        MINUTE / plan.calls_per_minute.max(1) * (plan.burst() - 1)
    } else {
        Duration::ZERO
    };
    let held_back = turn.wait.saturating_sub(early);
    // Into a full queue nothing is pushed: the scheduler does when there is room.
    let is_full = api.full_lanes.has(urgency(wait), ctx.clock.monotonic());
    if held_back > Duration::ZERO || is_full {
        row.dispatched_at = None;
        row.run_at = row.created_at + held_back;
        row.wake_at = Some(row.run_at);
    }
    let held = match &call.callback_url {
        Some(url) => Some(callback(api, call, &mut row, kind, url).await?),
        None => None,
    };
    let minute = MinuteLeft {
        limit: turn.permit.limit,
        remaining: turn.permit.remaining,
    };
    Ok(Rows { row, held, minute })
}

/// The row of a callback: nobody wakes it before the call has ended.
async fn callback(
    api: &Api,
    call: &Call,
    row: &mut JobRow,
    kind: &ProviderCall,
    url: &SecretString,
) -> Result<JobRow> {
    let callback = DeliverCallback::of(row.id, kind, row.created_at);
    let mut held = JobRow {
        wake_at: None,
        dispatched_at: None,
        account_id: row.account_id,
        provider: row.provider.clone(),
        ..durable::row(api, row.partner_id, call.request_id, &callback)?
    };
    held.sealed = Some(seal(api, &held, url.expose_secret().as_bytes()).await?);
    row.then_job = Some(held.id);
    Ok(held)
}

async fn seal(api: &Api, row: &JobRow, plain: &[u8]) -> Result<Vec<u8>> {
    let id = row.id.to_string();
    let sealer = &api.ctx.sealer;
    Ok(sealer
        .seal(row.partner_id, "jobs", "sealed", &id, 0, plain)
        .await?)
}

/// Waits until the call has ended: an attempt that is to be made again is not its end.
async fn ended(
    api: &Api,
    call: &Call,
    id: JobId,
    mut changed: Box<dyn Signal>,
    wait: Duration,
) -> Result<Response> {
    loop {
        changed.wait(wait).await;
        changed = api.ctx.signals.subscribe(id.as_u128());
        if let Some(outcome) = outcome(api, call, id).await? {
            return Ok(outcome);
        }
    }
}

/// What came of the call, if it has ended.
async fn outcome(api: &Api, call: &Call, id: JobId) -> Result<Option<Response>> {
    let row = api.ctx.store.get_job(call.partner.id, id).await?;
    // One that failed may be revived by the operator; for its caller it has ended.
    let goes_on = |row: &JobRow| matches!(row.state, JobState::Queued | JobState::Running);
    let Some(row) = row.filter(|row| !goes_on(row)) else {
        return Ok(None);
    };
    if call.shape == Shape::Job {
        return Ok(Some(jobs::get::detail(api, &row).await?.into_response()));
    }
    let Some(sealed) = &row.result else {
        return Ok(Some(answer::render(api, call, &unsaid(call, &row), &[])?));
    };
    let plain = api
        .ctx
        .sealer
        .open(row.partner_id, "jobs", "result", &id.to_string(), 0, sealed)
        .await?;
    let (head, body) =
        frame::unpack::<CallAnswer>(plain.expose_secret()).map_err(ApiError::internal)?;
    answer::render(api, call, &head, body).map(Some)
}

/// The answer of a call whose job ended without one: its row says why.
fn unsaid(call: &Call, row: &JobRow) -> CallAnswer {
    let canceled = row.state == JobState::Canceled;
    let code = row.error_code.clone().filter(|_| !canceled);
    let message = row.error.clone().filter(|_| !canceled);
    let kind = serde_json::from_str::<ProviderCall>(&row.payload);
    CallAnswer {
        call: kind.map_or_else(|_| CallId::from_u128(call.request_id.as_u128()), |k| k.call),
        result: CallResult::Failed {
            code: code.unwrap_or_else(|| Code::Conflict.as_str().to_owned()),
            message: message.unwrap_or_else(|| "the call was canceled before it began".to_owned()),
            reason: None,
            retry_after_s: None,
        },
        minute: None,
    }
}
