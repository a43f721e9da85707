//! Makes a connection of credentials that were given: tokens brought from elsewhere, keys, passwords. Who they
//! belong to is asked first, with the access token or key itself, so that a refresh token is never spent on it;
//! credentials that the provider refuses make no connection.

use latchkey_domain::states::SessionStatus;
use latchkey_jobs::{Outcome, kinds::AdoptCredentials};
use latchkey_oauth::TokenSet;
use latchkey_telemetry::Chain;
use secrecy::ExposeSecret;

use super::exchange_code::{Exchange, Failed, answer, end};
use crate::{
    Worker,
    register::Handler,
    runner::{Attempt, Failure},
};

/// The provider does not take the credentials.
const REFUSED: &str = "credentials_refused";

impl Handler for AdoptCredentials {
    async fn run(self, worker: &Worker, attempt: &Attempt) -> Outcome {
        let (store, partner) = (&worker.ctx.store, attempt.job.partner);
        let session = match store.get_partner_session(partner, self.session).await {
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
                let error = session.error.as_deref().unwrap_or(REFUSED);
                answer(worker, attempt, Some(error)).await;
                return Outcome::fail(error, format!("the connect session is {other}"));
            }
        }
        let adoption = Exchange {
            worker,
            session,
            given: true,
        };
        match adopt(&adoption).await {
            Ok(()) => {
                answer(worker, attempt, None).await;
                Outcome::DONE
            }
            Err(failed) => match end(worker, attempt, self.session, failed.code).await {
                Ok(_) => Outcome::fail(failed.code, failed.error),
                Err(error) => Outcome::retry(failed.code, Chain(&error)),
            },
        }
    }

    async fn gave_up(self, worker: &Worker, attempt: &Attempt, failure: Failure) -> Failure {
        if let Err(error) = end(worker, attempt, self.session, REFUSED).await {
            tracing::error!(session = %self.session, error = %Chain(&error), "a session was left open");
        }
        failure
    }
}

async fn adopt(adoption: &Exchange<'_>) -> Result<(), Failed> {
    let session = &adoption.session;
    let clients = &adoption.worker.clients;
    let client = clients
        .get(session.partner_id, session.auth_config_id)
        .await;
    let client = client.map_err(|e| Failed::exchange(&e))?;
    let given = adoption.open("code", session.code.as_deref()).await?;
    let tokens = TokenSet::from_bytes(given.expose_secret().as_bytes());
    let mut tokens = tokens.map_err(|e| Failed::exchange(&e))?;
    let identity = adoption.identity(&client, &tokens).await;
    let identity = identity.map_err(|failed| match failed.code {
        // Asked, and refused.
        "token_exchange_failed" => Failed {
            code: REFUSED,
            ..failed
        },
        _ => failed,
    })?;
    adoption.introspect(&client, &mut tokens).await?;
    adoption.store(&client, &tokens, &identity).await
}
