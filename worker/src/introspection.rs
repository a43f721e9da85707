//! Asking the provider when an access token ends, for entries whose answers do not say (RFC 7662). Nothing depends on
//! the answer: without one the end that the entry assumes stands.

use std::time::Duration;

use latchkey_domain::Timestamp;
use latchkey_oauth::{
    Client, OauthSpec, TokenSet, answer::TOKEN_ANSWER_BYTES, introspect_request,
    parse_introspection,
};
use latchkey_runtime::Context;
use latchkey_telemetry::Chain;

/// Longest wait for an answer: new tokens lie in memory and in a journal meanwhile.
const WITHIN: Duration = Duration::from_secs(2);

/// Puts the end that the provider tells into the tokens; says whether it did.
pub(crate) async fn ask_end(
    ctx: &Context,
    spec: &OauthSpec,
    client: &Client<'_>,
    tokens: &mut TokenSet,
    now: Timestamp,
) -> bool {
    let request = match introspect_request(spec, client, tokens) {
        Ok(Some(request)) => request,
        Ok(None) => return false,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "introspection not asked");
            return false;
        }
    };
    let within = WITHIN.min(ctx.config.refresh.timeout);
    let end = match ctx.http.send(request, within, TOKEN_ANSWER_BYTES).await {
        Ok(answer) => parse_introspection(&answer, now),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "introspection without an answer");
            return false;
        }
    };
    let Some(end) = end else {
        tracing::warn!("introspection tells no end");
        return false;
    };
    tokens.expires_at = Some(end);
    true
}
