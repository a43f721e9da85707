//! `POST /partner/webhook_secret`: another secret in the place of this one.

use std::{sync::Arc, time::Duration};

use axum::extract::State;

use super::{ShownSecret, live_only, make, show};
use crate::{
    audit,
    auth::Partner,
    extract::Id,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// How long a replaced secret signs beside the new one: time to bring the new one to every receiver.
const BESIDE: Duration = Duration::from_secs(24 * 3600);

/// Replace the webhook secret
///
/// For 24 hours webhooks carry two signatures, by the new secret and by the one before, so that receivers can
/// change over without losing any.
#[utoipa::path(post, path = "/api/v1/partner/webhook_secret", tag = "partner",
    responses((status = 200, body = Envelope<ShownSecret>)))]
pub(crate) async fn rotate_webhook_secret(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
) -> Result<Reply<ShownSecret>> {
    live_only(&partner)?;
    let row = make(&api, &partner).await?;
    let until = row.created_at + BESIDE;
    api.ctx.store.replace_webhook_secret(&row, until).await?;
    let subject = row.id.to_string();
    audit::by_partner(&api, &partner, id, "webhook_secret.rotate", &subject).await;
    Ok(Reply(show(&api, &partner).await?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::TestApi;

    const PATH: &str = "/api/v1/partner/webhook_secret";

    #[tokio::test]
    async fn a_secret_is_the_same_until_it_is_replaced() {
        let api = TestApi::new().await;
        let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
        let first = acme.client.get(PATH).await.data();
        let text = first["secret"].as_str().unwrap();
        assert!(text.starts_with("whsec_") && text.len() == 6 + 44, "{text}");
        assert_eq!(acme.client.get(PATH).await.data(), first);
        assert_ne!(
            other.client.get(PATH).await.data()["secret"],
            first["secret"]
        );
        let second = acme.client.post(PATH, json!({})).await.data();
        assert_ne!(second["secret"], first["secret"]);
        assert!(second["previous_until"].is_string());
        let store = &api.api.ctx.store;
        let signing = async || {
            let now = api.api.ctx.now();
            store.webhook_secrets(acme.id, now).await.unwrap().len()
        };
        assert_eq!(signing().await, 2);
        api.advance(Duration::from_secs(24 * 3600));
        assert_eq!(signing().await, 1);
        let test = acme
            .client
            .post("/api/v1/partner/keys", json!({"mode": "test"}))
            .await
            .data();
        let test = api
            .anyone()
            .with("x-api-key", test["key"].as_str().unwrap());
        assert_eq!(test.get(PATH).await.code(), "TEST_KEY_ONLY_SANDBOX");
    }
}
