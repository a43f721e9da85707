//! A call that its caller waits for: no row, one sealed message to a worker, one sealed reply.

use std::time::Duration;

use axum::response::Response;
use latchkey_domain::{CallId, JobId, ReplyId};
use latchkey_jobs::{Job, frame, kinds::provider_call::CallAnswer};
use secrecy::ExposeSecret;

use super::{Call, answer};
use crate::{
    error::{ApiError, Code},
    reply::Result,
    state::Api,
};

/// Waited beyond the job's deadline: a worker that gives up at the deadline has the better word for it.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// Makes the call and waits for what came of it, if there is a seat: a queue that is longer than what is served
/// within its callers' patience answers nobody in time.
pub(super) async fn make(api: &Api, call: &Call) -> Result<Response> {
    let _seat = api.seats.try_acquire().map_err(|full| {
        let message = "Too many calls are waited for at once, and this one was not begun. Try again shortly, or \
                       make it with `Prefer: respond-async`.";
        ApiError::unavailable(message, full)
    })?;
    let (ctx, now, partner) = (&api.ctx, api.ctx.now(), call.partner.id);
    let call_id = CallId::new(now, &*ctx.entropy);
    let reply = ReplyId::new(now, &*ctx.entropy);
    let plain = frame::pack(&call.request, &call.body).map_err(ApiError::internal)?;
    let row = call_id.to_string();
    let sealed = ctx
        .sealer
        .seal(partner, "calls", "request", &row, 0, &plain)
        .await?;
    let id = JobId::new(now, &*ctx.entropy);
    let job = Job {
        sealed: Some(sealed),
        reply_to: Some(reply),
        deadline: Some(now + ctx.config.calls.wait),
        request_id: Some(call.request_id),
        ..Job::new(id, partner, &call.kind(call_id), now)?
    };
    let answer = ctx
        .replies
        .wait(reply, ctx.config.calls.wait + AFTER_DEADLINE);
    ctx.queue.push(job).await?;
    let Some(sealed) = answer.await else {
        return Err(unheard(call, call_id));
    };
    let row = reply.to_string();
    let plain = ctx
        .sealer
        .open(partner, "calls", "answer", &row, 0, &sealed)
        .await?;
    let (head, body): (CallAnswer, _) =
        frame::unpack(plain.expose_secret()).map_err(ApiError::internal)?;
    answer::render(api, call, &head, body)
}

/// No word by the deadline: the worker that had it is gone, or none was free.
fn unheard(call: &Call, id: CallId) -> ApiError {
    if call.request.is_unsafe() {
        return ApiError::new(
            Code::OutcomeUnknown,
            format!(
                "Nothing was heard of this call in time. It may have been sent; it is not sent again. \
                 GET /api/v1/calls shows what became of it ({id})."
            ),
        );
    }
    ApiError::new(
        Code::ProviderTimeout,
        "Nothing was heard of this call in time. It can be repeated.",
    )
}
