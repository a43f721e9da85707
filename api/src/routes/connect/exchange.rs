//! The `exchange_code` job of a session, and the wait for what it brought.

use latchkey_domain::{ReplyId, RequestId};
use latchkey_jobs::kinds::{ExchangeCode, exchange_code::ExchangeAnswer};
use latchkey_store::{JobRow, SessionRow};

use crate::{durable, error::ApiError, state::Api};

/// The job's row. It is written in the transaction that moves the session to `exchanging`.
pub(crate) fn job(
    api: &Api,
    session: &SessionRow,
    request_id: RequestId,
) -> Result<JobRow, ApiError> {
    let kind = ExchangeCode {
        session: session.id,
    };
    Ok(JobRow {
        account_id: Some(session.account_id),
        provider: Some(session.provider.clone()),
        ..durable::row(api, session.partner_id, request_id, &kind)?
    })
}

/// Wakes a worker for the job and waits for its answer, as long as the settings say. `None` if it is not
/// there by then: the session's row has it later.
pub(crate) async fn run(api: &Api, row: &JobRow, request_id: RequestId) -> Option<ExchangeAnswer> {
    let reply = ReplyId::new(api.ctx.now(), &*api.ctx.entropy);
    let mut job = durable::wake_up::<ExchangeCode>(api, row, request_id);
    job.reply_to = Some(reply);
    let answer = api
        .ctx
        .replies
        .wait(reply, api.ctx.config.connect.callback_wait);
    durable::push(api, job).await;
    let answer = answer.await?;
    // Calls of the account go with the new connection from here on.
    api.reach.changed();
    serde_json::from_slice(&answer).ok()
}
