//! Connections of credentials that were given: the session takes them sealed in the place of a code, and a worker
//! tries them before it makes the connection.

use latchkey_domain::{ReplyId, RequestId};
use latchkey_jobs::kinds::{AdoptCredentials, exchange_code::ExchangeAnswer};
use latchkey_oauth::TokenSet;
use latchkey_store::{JobRow, SessionRow};
use secrecy::ExposeSecret;

use crate::{durable, error::ApiError, state::Api};

/// What came of it.
pub(crate) enum Adopted {
    /// The worker's answer.
    Answered(ExchangeAnswer),
    /// It was not there in time: the session's row has it later.
    Later,
    /// The session no longer waits for credentials.
    Over,
}

/// Hands credentials to a worker and waits for its answer, as long as the settings say.
pub(crate) async fn adopt(
    api: &Api,
    session: &SessionRow,
    tokens: &TokenSet,
    request_id: RequestId,
) -> Result<Adopted, ApiError> {
    let (partner, row) = (session.partner_id, session.id.to_string());
    let bytes = tokens.to_bytes();
    let sealer = &api.ctx.sealer;
    let sealed = sealer
        .seal(
            partner,
            "connect_sessions",
            "code",
            &row,
            0,
            bytes.expose_secret(),
        )
        .await?;
    let kind = AdoptCredentials {
        session: session.id,
    };
    let job = JobRow {
        account_id: Some(session.account_id),
        provider: Some(session.provider.clone()),
        ..durable::row(api, partner, request_id, &kind)?
    };
    let store = &api.ctx.store;
    if !store
        .take_credentials(session, &sealed, &job, api.ctx.now())
        .await?
    {
        return Ok(Adopted::Over);
    }
    let reply = ReplyId::new(api.ctx.now(), &*api.ctx.entropy);
    let mut wake_up = durable::wake_up::<AdoptCredentials>(api, &job, request_id);
    wake_up.reply_to = Some(reply);
    let answer = api
        .ctx
        .replies
        .wait(reply, api.ctx.config.connect.callback_wait);
    durable::push(api, wake_up).await;
    let answer = answer.await;
    // Calls of the account go with the new connection from here on.
    api.reach.changed();
    Ok(
        match answer.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(answer) => Adopted::Answered(answer),
            None => Adopted::Later,
        },
    )
}
