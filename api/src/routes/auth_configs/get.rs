//! `GET /auth_configs/{id}`.

use std::sync::Arc;

use axum::extract::State;

use super::AuthConfig;
use crate::{
    auth::Partner,
    error::ApiError,
    extract::{Path, id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Get an OAuth client of yours
#[utoipa::path(get, path = "/api/v1/auth_configs/{auth_config_id}", tag = "auth configs",
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)")),
    responses((status = 200, body = Envelope<AuthConfig>)))]
pub(crate) async fn get_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(config): Path<String>,
) -> Result<Reply<AuthConfig>> {
    let row = api
        .ctx
        .store
        .get_auth_config(partner.id, id(&config, "auth config")?)
        .await?;
    let row = row.ok_or_else(|| ApiError::not_found("auth config"))?;
    Ok(Reply(AuthConfig::of(&api, row)))
}

#[cfg(test)]
mod tests {
    use crate::testing::{TestApi, sandbox_client};

    #[tokio::test]
    async fn each_has_a_callback_of_its_own() {
        let api = TestApi::with(&[("public_url", "https://keys.example.com")]).await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/auth_configs", sandbox_client())
            .await
            .data();
        let id = made["id"].as_str().unwrap();
        let got = acme.client.get(&format!("/api/v1/auth_configs/{id}")).await;
        assert_eq!(got.data(), made);
        let callback = format!("https://keys.example.com/api/v1/connect/callback/{id}");
        assert_eq!(got.data()["callback_url"], callback);
        assert_eq!(got.header("strict-transport-security"), "max-age=31536000");
    }
}
