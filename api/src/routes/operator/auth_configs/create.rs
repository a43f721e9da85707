//! `POST /operator/auth_configs`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{OwnedAuthConfig, owner};
use crate::{
    audit::{self, Change},
    extract::{Body, Id, Query},
    reply::{Envelope, Reply, Result},
    routes::auth_configs::{NewAuthConfig, make},
    state::Api,
};

/// Whose it shall be.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Owner {
    /// This partner's; left out: shared with all partners.
    pub(crate) partner_id: Option<String>,
}

/// Register an OAuth client, shared or for one partner
#[utoipa::path(post, path = "/operator/auth_configs", tag = "auth configs", params(Owner),
    request_body = NewAuthConfig, responses((status = 200, body = Envelope<OwnedAuthConfig>)))]
pub(crate) async fn create_auth_config(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Query(query): Query<Owner>,
    Body(body): Body<NewAuthConfig>,
) -> Result<Reply<OwnedAuthConfig>> {
    let owner = owner(&api, query.partner_id.as_deref()).await?;
    let made = make(&api, owner, body).await?;
    let change = Change {
        partner: owner,
        action: "auth_config.create",
        subject: &made.id,
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(OwnedAuthConfig::of(owner, made)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{TestApi, sandbox_client};

    #[tokio::test]
    async fn shared_or_for_one_partner() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let operator = api.operator();
        let path = "/operator/auth_configs";
        let shared = operator.post(path, sandbox_client()).await;
        insta::assert_snapshot!(shared.shown(), @r#"
        200 OK
        {
          "data": {
            "callback_url": "http://127.0.0.1:8080/api/v1/connect/callback/ac_<id>",
            "client_id": "client",
            "created_at": "2026-11-21T20:00:00.000Z",
            "has_secret": true,
            "id": "ac_<id>",
            "name": "Sandbox",
            "params": {
              "base_url": "http://127.0.0.1:9"
            },
            "partner_id": null,
            "provider": "sandbox",
            "scopes": [],
            "status": "enabled",
            "updated_at": "2026-11-21T20:00:00.000Z"
          },
          "ok": true
        }
        "#);
        let for_acme = format!("{path}?partner_id={}", acme.id);
        let own = operator.post(&for_acme, sandbox_client()).await.data();
        assert_eq!(own["partner_id"], acme.id.to_string());
        assert_eq!(
            acme.client.get("/api/v1/auth_configs").await.json()["total"],
            1
        );
        let listed = operator.get(path).await.data();
        let configs = listed["auth_configs"].as_array().unwrap();
        // The other one is the harness's own.
        assert_eq!(configs.len(), 2);
        assert!(configs.contains(&shared.data()));
        assert_eq!(
            operator.get(&for_acme).await.data()["auth_configs"],
            json!([own])
        );
        // A partner uses a shared one; it does not see or change it.
        let id = shared.data()["id"].as_str().unwrap().to_owned();
        assert_eq!(
            acme.client
                .get(&format!("/api/v1/auth_configs/{id}"))
                .await
                .code(),
            "NOT_FOUND"
        );
        for id in [id.as_str(), own["id"].as_str().unwrap()] {
            let path = format!("{path}/{id}");
            let off = operator
                .patch(&path, json!({"status": "disabled"}))
                .await
                .data();
            assert_eq!(operator.get(&path).await.data(), off);
            assert_eq!(off["status"], "disabled");
        }
    }
}
