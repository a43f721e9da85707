//! `POST /connect-sessions/{id}/complete`: the partner's backend, which knows who is logged in, says that the
//! right user came back. Only then is the provider's code exchanged (`reliability.md` A1).

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::states::SessionStatus;
use latchkey_store::SessionRow;
use latchkey_vault::{digest, same};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{ConnectSession, SESSION, exchange};
use crate::{
    auth::Partner,
    check::Checks,
    error::{ApiError, Code},
    extract::{self, Body, Id, Path},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Longest value of either field.
const MAX_TEXT: usize = 255;

/// What the browser brought, and who is logged in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Completion {
    /// `completion_code` of the redirect.
    completion_code: String,
    /// The `external_id` of the user who is logged in *where the browser landed*: from your own login
    /// session, never from the redirect's query.
    #[schema(example = "user_42")]
    external_id: String,
}

/// Confirm who came back
///
/// Exchanges the provider's code if `external_id` is the session's account; the answer is the session as it
/// is then (usually `completed` or `failed`). Another `external_id` ends the session.
#[utoipa::path(post, path = "/api/v1/connect-sessions/{session_id}/complete", tag = "connect",
    request_body = Completion, params(("session_id" = String, Path, description = "The session's id")),
    responses((status = 200, body = Envelope<ConnectSession>)))]
pub(crate) async fn complete_connect_session(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Path(session): Path<String>,
    Body(body): Body<Completion>,
) -> Result<Reply<ConnectSession>> {
    let mut checks = Checks::default();
    checks.text("completion_code", &body.completion_code, 1, MAX_TEXT);
    checks.text("external_id", &body.external_id, 1, MAX_TEXT);
    checks.finish()?;
    let session = find(&api, &partner, &session).await?;
    partner.may_reach(&session.provider)?;
    ready(&api, &session)?;
    let hash = digest(&body.completion_code);
    if !session
        .completion_hash
        .is_some_and(|expected| same(&expected, &hash))
    {
        return Err(refused("The completion code is not this session's."));
    }
    let job = exchange::job(&api, &session, id)?;
    let (store, external_id) = (&api.ctx.store, body.external_id.as_str());
    let confirmed = store
        .confirm_session(
            partner.id,
            session.id,
            &hash,
            external_id,
            &job,
            api.ctx.now(),
        )
        .await?;
    if !confirmed {
        let now = find(&api, &partner, &session.id.to_string()).await?;
        ready(&api, &now)?;
        // The code is right and the user is another one: somebody's consent was brought into a stranger's
        // login. The session must not be completed by a second try.
        let code = "confirmation_refused";
        store
            .fail_session(partner.id, session.id, code, api.ctx.now())
            .await?;
        return Err(refused(
            "This session is another account's. It was ended; nothing was connected.",
        ));
    }
    exchange::run(&api, &job, id).await;
    let session = find(&api, &partner, &session.id.to_string()).await?;
    Ok(Reply(ConnectSession::of(session, api.ctx.now())))
}

async fn find(api: &Api, partner: &Partner, id: &str) -> Result<SessionRow> {
    let id = extract::id(id, SESSION)?;
    let found = api.ctx.store.get_partner_session(partner.id, id).await?;
    found.ok_or_else(|| ApiError::not_found(SESSION))
}

/// Whether the session waits for its confirmation.
fn ready(api: &Api, session: &SessionRow) -> Result<()> {
    let expired = || ApiError::new(Code::SessionExpired, "This connect session has expired.");
    match session.status {
        SessionStatus::AwaitingConfirmation if session.expires_at > api.ctx.now() => Ok(()),
        SessionStatus::AwaitingConfirmation | SessionStatus::Expired => Err(expired()),
        other => Err(ApiError::new(
            Code::Conflict,
            format!("This connect session is {other}; it does not wait for a confirmation."),
        )),
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(Code::ConfirmationRefused, message)
}
