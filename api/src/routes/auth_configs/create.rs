//! `POST /auth_configs`: an OAuth client of the partner's own.

use std::sync::Arc;

use axum::extract::State;

use super::{AuthConfig, NewAuthConfig, make, only_registered_addresses};
use crate::{
    audit,
    auth::Partner,
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Register an OAuth client of your own
///
/// Register the answer's `callback_url` with the provider as the client's redirect URI.
#[utoipa::path(post, path = "/api/v1/auth_configs", tag = "auth configs", request_body = NewAuthConfig,
    responses((status = 200, body = Envelope<AuthConfig>)))]
pub(crate) async fn create_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Body(body): Body<NewAuthConfig>,
) -> Result<Reply<AuthConfig>> {
    partner.may_reach(&body.provider)?;
    only_registered_addresses(&api, &body).await?;
    let made = make(&api, partner.id, body).await?;
    audit::by_partner(&api, &partner, id, "auth_config.create", &made.id).await;
    Ok(Reply(made))
}

#[cfg(test)]
mod tests {
    use latchkey_domain::AuthConfigId;
    use secrecy::ExposeSecret;
    use serde_json::json;

    use crate::testing::{SECRET, TestApi, sandbox_client};

    #[tokio::test]
    async fn the_secret_is_sealed_and_never_shown() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/auth_configs", sandbox_client())
            .await;
        insta::assert_snapshot!(made.shown(), @r#"
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
            "provider": "sandbox",
            "scopes": [],
            "status": "enabled",
            "updated_at": "2026-11-21T20:00:00.000Z"
          },
          "ok": true
        }
        "#);
        let id: AuthConfigId = made.data()["id"].as_str().unwrap().parse().unwrap();
        let ctx = &api.api.ctx;
        let row = ctx
            .store
            .get_auth_config(acme.id, id)
            .await
            .unwrap()
            .unwrap();
        let sealed = row.client_secret.unwrap();
        assert!(!sealed.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
        let open = |row: String| {
            let (sealer, sealed) = (ctx.sealer.clone(), sealed.clone());
            async move {
                sealer
                    .open(acme.id, "auth_configs", "client_secret", &row, 0, &sealed)
                    .await
            }
        };
        assert_eq!(
            open(id.to_string()).await.unwrap().expose_secret(),
            SECRET.as_bytes()
        );
        // Moved to another row it does not open.
        assert!(open(AuthConfigId::from_u128(1).to_string()).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_fit_the_provider_is_refused() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let mut said = Vec::new();
        for (field, value) in [
            ("provider", json!("sandbx")),
            ("client_id", json!("")),
            ("client_secret", json!("")),
            ("client_secret", json!("x".repeat(4097))),
            ("name", json!("n".repeat(256))),
            ("scopes", json!(["with space"])),
            ("params", json!({"base_url": ["http://127.0.0.1:1"]})),
            ("params", json!({"bse_url": "http://127.0.0.1:1"})),
            ("params", json!({})),
            ("params", json!({"base_url": "http://127.0.0.1:5432"})),
            ("secret", json!("x")),
        ] {
            let mut body = sandbox_client();
            body[field] = value;
            let answer = acme.client.post("/api/v1/auth_configs", body).await;
            assert_eq!(answer.code(), "INVALID_REQUEST", "{field}");
            said.push(answer.json()["error"].as_str().unwrap().to_owned());
        }
        insta::assert_snapshot!(said.join("\n"), @r"
        provider: must be one of github, google, sandbox
        client_id must be 1 to 4096 characters
        client_secret must not be empty
        client_secret must be at most 4096 characters
        name must be 1 to 255 characters
        scopes: 'with space' is not a scope
        params.base_url must be a text or a number
        params: 'bse_url' is not a parameter of this provider
        params: 'base_url' is required for this provider
        params.base_url must be an address that the operator has registered (latchkey auth-config create)
        secret: unknown field `secret`, expected one of `provider`, `client_id`, `client_secret`, `scopes`, `params`, `name`
        ");
    }

    #[tokio::test]
    async fn a_test_key_registers_sandbox_clients_only() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let test = acme
            .client
            .post("/api/v1/partner/keys", json!({"mode": "test"}))
            .await
            .data();
        let test = api
            .anyone()
            .with("x-api-key", test["key"].as_str().unwrap());
        test.post("/api/v1/auth_configs", sandbox_client())
            .await
            .data();
        let github = json!({"provider": "github", "client_id": "c", "client_secret": "s"});
        let refused = test.post("/api/v1/auth_configs", github.clone()).await;
        insta::assert_snapshot!(refused.shown(), @r#"
        403 Forbidden
        {
          "error": "A test key reaches the provider 'sandbox' only. Use a live key for 'github'.",
          "error_code": "TEST_KEY_ONLY_SANDBOX",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        acme.client
            .post("/api/v1/auth_configs", github)
            .await
            .data();
    }
}
