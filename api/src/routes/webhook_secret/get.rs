//! `GET /partner/webhook_secret`: the secret to verify webhooks with.

use std::sync::Arc;

use axum::extract::State;

use super::{ShownSecret, ensure, live_only, show};
use crate::{
    auth::Partner,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// See the webhook secret
///
/// Callbacks are signed with it as the Standard Webhooks specification says (`webhook-id`,
/// `webhook-timestamp`, `webhook-signature`).
#[utoipa::path(get, path = "/api/v1/partner/webhook_secret", tag = "partner",
    responses((status = 200, body = Envelope<ShownSecret>)))]
pub(crate) async fn get_webhook_secret(
    State(api): State<Arc<Api>>,
    partner: Partner,
) -> Result<Reply<ShownSecret>> {
    live_only(&partner)?;
    ensure(&api, &partner).await?;
    Ok(Reply(show(&api, &partner).await?))
}
