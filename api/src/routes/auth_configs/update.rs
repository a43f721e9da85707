//! `PATCH /auth_configs/{id}`: switches a config on or off, or renames it.

use std::sync::Arc;

use axum::extract::State;

use super::{AuthConfig, UpdateAuthConfig, change};
use crate::{
    audit,
    auth::Partner,
    error::ApiError,
    extract::{Body, Id, Path, id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Change an OAuth client of yours
#[utoipa::path(patch, path = "/api/v1/auth_configs/{auth_config_id}", tag = "auth configs",
    request_body = UpdateAuthConfig,
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)")),
    responses((status = 200, body = Envelope<AuthConfig>)))]
pub(crate) async fn update_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(config): Path<String>,
    Body(body): Body<UpdateAuthConfig>,
) -> Result<Reply<AuthConfig>> {
    let row = api
        .ctx
        .store
        .get_auth_config(partner.id, id(&config, "auth config")?)
        .await?;
    let row = row.ok_or_else(|| ApiError::not_found("auth config"))?;
    partner.may_reach(&row.provider)?;
    let changed = change(&api, row, body).await?;
    audit::by_partner(&api, &partner, request_id, "auth_config.update", &config).await;
    Ok(Reply(changed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{TestApi, sandbox_client};

    #[tokio::test]
    async fn off_and_on_again() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/auth_configs", sandbox_client())
            .await
            .data();
        let path = format!("/api/v1/auth_configs/{}", made["id"].as_str().unwrap());
        for status in ["disabled", "disabled", "enabled"] {
            let changed = acme
                .client
                .patch(&path, json!({"status": status}))
                .await
                .data();
            assert_eq!(changed["status"], status);
        }
        let renamed = acme
            .client
            .patch(&path, json!({"name": "Ours"}))
            .await
            .data();
        assert_eq!(
            (&renamed["name"], &renamed["status"]),
            (&json!("Ours"), &json!("enabled"))
        );
        for wrong in [
            json!({"status": "paused"}),
            json!({"client_secret": "x"}),
            json!({"name": ""}),
        ] {
            assert_eq!(
                acme.client.patch(&path, wrong).await.code(),
                "INVALID_REQUEST"
            );
        }
    }
}
