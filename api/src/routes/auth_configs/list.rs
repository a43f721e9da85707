//! `GET /auth_configs`: the partner's own. Shared ones of the operator serve where a partner has none.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{AuthConfigList, all_of};
use crate::{
    auth::Partner,
    extract::Query,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Which configs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAuthConfigs {
    /// Of this provider.
    provider: Option<String>,
}

/// List your OAuth clients
#[utoipa::path(get, path = "/api/v1/auth_configs", tag = "auth configs", params(ListAuthConfigs),
    responses((status = 200, body = Envelope<AuthConfigList>)))]
pub(crate) async fn list_auth_configs(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Query(query): Query<ListAuthConfigs>,
) -> Result<Reply<AuthConfigList>> {
    Ok(Reply(
        all_of(&api, partner.id, query.provider.as_deref()).await?,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{TestApi, sandbox_client};

    #[tokio::test]
    async fn the_partners_own_by_provider() {
        let api = TestApi::new().await;
        let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
        let path = "/api/v1/auth_configs";
        acme.client.post(path, sandbox_client()).await.data();
        let github =
            json!({"provider": "github", "client_id": "c", "client_secret": "s", "name": "Ours"});
        acme.client.post(path, github).await.data();
        other.client.post(path, sandbox_client()).await.data();
        api.operator()
            .post("/operator/auth_configs", sandbox_client())
            .await
            .data();
        let all = acme.client.get(path).await.data();
        assert_eq!(all["total"], 2);
        assert_eq!(all["auth_configs"][0]["name"], "Ours");
        let github = acme
            .client
            .get("/api/v1/auth_configs?provider=github")
            .await
            .data();
        assert_eq!(
            (&github["total"], &github["auth_configs"][0]["name"]),
            (&json!(1), &json!("Ours"))
        );
        assert_eq!(
            acme.client.get("/api/v1/auth_configs?slug=x").await.code(),
            "INVALID_REQUEST"
        );
    }
}
