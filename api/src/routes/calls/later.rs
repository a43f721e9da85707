//! A call that nobody waits for (`Prefer: respond-async`): its row is written before anyone is told
//! "accepted", so neither a crash nor a full queue loses it.

use std::time::Duration;

use axum::response::Response;
use latchkey_domain::{CallId, PartnerId, states::JobState};
use latchkey_jobs::{Urgency, frame, kinds::ProviderCall};
use latchkey_store::{JobFilter, JobRow};
use moka::future::Cache;

use super::Call;
use crate::{
    durable,
    error::{ApiError, Code},
    reply::Result,
    routes::jobs::Accepted,
    state::Api,
};

/// How long a count is trusted. What is accepted meanwhile goes beyond the bound by that much at most.
const KEPT: Duration = Duration::from_secs(2);
/// Partners whose count is kept, some 100 bytes each.
const PARTNERS_KEPT: u64 = 50_000;
/// When it makes sense to try again with a full backlog.
const COME_BACK: Duration = Duration::from_secs(60);

/// Unfinished jobs by partner, a moment old.
#[derive(Debug)]
pub(crate) struct Backlogs(Cache<PartnerId, (Duration, u64)>);

impl Default for Backlogs {
    fn default() -> Self {
        Self(Cache::new(PARTNERS_KEPT))
    }
}

impl Backlogs {
    async fn of(&self, api: &Api, partner: PartnerId) -> Result<u64> {
        let now = api.ctx.clock.monotonic();
        if let Some((read, count)) = self.0.get(&partner).await
            && now.saturating_sub(read) < KEPT
        {
            return Ok(count);
        }
        let filter = JobFilter {
            states: vec![JobState::Queued, JobState::Running],
            limit: 1,
            ..JobFilter::default()
        };
        let (_, count) = api.ctx.store.list_jobs(partner, &filter).await?;
        self.0.insert(partner, (now, count)).await;
        Ok(count)
    }
}

/// Writes the row, wakes a worker, and answers 202.
pub(super) async fn accept(api: &Api, call: &Call) -> Result<Response> {
    let (ctx, partner) = (&api.ctx, call.partner.id);
    let most = ctx.config.calls.backlog_max;
    if api.backlogs.of(api, partner).await? >= most {
        let text =
            format!("{most} of your jobs are unfinished, which is the most. Wait for some to end.");
        return Err(ApiError::new(Code::RateLimited, text).retry_after(COME_BACK));
    }
    let now = ctx.now();
    let kind = call.kind(CallId::new(now, &*ctx.entropy));
    let mut row = JobRow {
        visible: true,
        // Behind those that somebody waits for.
        urgency: Urgency::Background.as_str().to_owned(),
        account_id: Some(call.reached.account.id),
        provider: Some(call.provider.clone()),
        service: Some(call.service.clone()),
        action: Some(call.endpoint.clone()),
        ..durable::row(api, partner, call.request_id, &kind)?
    };
    let plain = frame::pack(&call.request, &call.body).map_err(ApiError::internal)?;
    let id = row.id.to_string();
    row.sealed = Some(
        ctx.sealer
            .seal(partner, "jobs", "sealed", &id, 0, &plain)
            .await?,
    );
    // Beyond the partner's rate it is parked: the scheduler releases what waits, in turn with others'.
    let permit = ctx.plan_limits.peek(partner, &call.partner.plan).await;
    if !permit.allowed {
        row.dispatched_at = None;
        row.wake_at = Some(now + permit.retry_after);
    }
    let mut job = durable::wake_up::<ProviderCall>(api, &row, call.request_id);
    job.urgency = Urgency::Background;
    let accepted = Accepted::of(api, &row);
    ctx.store.insert_job(row).await?;
    if permit.allowed {
        durable::push(api, job).await;
    }
    Ok(accepted.into_answer())
}
