//! `/partner/webhook_secret`: what the partner's webhooks are signed with. It is made when it is first needed,
//! can be read again, and can be replaced without a pause.

pub(crate) mod get;
pub(crate) mod rotate;

use latchkey_domain::WebhookSecretId;
use latchkey_store::{KeyMode, WebhookSecretRow};
use latchkey_vault::WebhookSecret;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Partner,
    error::{ApiError, Code},
    openapi::Time,
    reply::Result,
    state::Api,
};

/// A webhook secret, shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownSecret {
    /// For any Standard Webhooks library.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    /// When it was made.
    created_at: Time,
    /// Until when the secret before it signs too, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<Time>,
}

/// Refuses a test key: live calls are signed with the same secret.
fn live_only(partner: &Partner) -> Result<()> {
    if partner.mode == KeyMode::Live {
        return Ok(());
    }
    let text = "A test key is not shown the webhook secret. Use a live key.";
    Err(ApiError::new(Code::TestKeyOnlySandbox, text))
}

/// A new secret, sealed into its row.
async fn make(api: &Api, partner: &Partner) -> Result<WebhookSecretRow> {
    let (ctx, now) = (&api.ctx, api.ctx.now());
    let id = WebhookSecretId::new(now, &*ctx.entropy);
    let secret = WebhookSecret::generate(&*ctx.entropy);
    let sealed = ctx
        .sealer
        .seal(
            partner.id,
            "webhook_secrets",
            "sealed",
            &id.to_string(),
            0,
            secret.bytes(),
        )
        .await?;
    Ok(WebhookSecretRow {
        id,
        partner_id: partner.id,
        sealed,
        created_at: now,
        ends_at: None,
    })
}

/// Makes the partner's first secret, unless it has one.
pub(crate) async fn ensure(api: &Api, partner: &Partner) -> Result<()> {
    let store = &api.ctx.store;
    if store
        .webhook_secrets(partner.id, api.ctx.now())
        .await?
        .is_empty()
    {
        let row = make(api, partner).await?;
        store.insert_webhook_secret(&row).await?;
    }
    Ok(())
}

/// The secret that signs now.
async fn show(api: &Api, partner: &Partner) -> Result<ShownSecret> {
    let ctx = &api.ctx;
    let rows = ctx.store.webhook_secrets(partner.id, ctx.now()).await?;
    let Some((current, before)) = rows.split_first() else {
        return Err(ApiError::not_found("webhook secret"));
    };
    let id = current.id.to_string();
    let bytes = ctx
        .sealer
        .open(
            partner.id,
            "webhook_secrets",
            "sealed",
            &id,
            0,
            &current.sealed,
        )
        .await?;
    let secret = WebhookSecret::from_bytes(bytes.expose_secret()).to_text();
    Ok(ShownSecret {
        secret: secret.expose_secret().to_owned(),
        created_at: Time(current.created_at),
        previous_until: before.iter().filter_map(|row| row.ends_at).max().map(Time),
    })
}
