//! `GET /accounts/{id}`: an account with what it is connected to.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{Timestamp, states::ConnectionStatus};
use latchkey_store::{Connection, ConnectionFilter};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Account, find};
use crate::{
    auth::Partner,
    extract::Path,
    openapi::Time,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// An account with its integrations.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountWithIntegrations {
    #[serde(flatten)]
    account: Account,
    /// What it is connected to, latest first.
    integrations: Vec<IntegrationSummary>,
}

/// An integration in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct IntegrationSummary {
    /// Its id.
    id: String,
    /// The provider.
    #[schema(example = "google")]
    provider: String,
    /// `active`, `expired`, `needs_reauth` or `paused`.
    #[schema(value_type = String, example = "active")]
    status: ConnectionStatus,
    /// When the end user last connected.
    connected_at: Time,
}

impl IntegrationSummary {
    fn of(connection: Connection, now: Timestamp) -> Self {
        Self {
            status: connection.status(now),
            id: connection.row.id.to_string(),
            provider: connection.row.provider,
            connected_at: Time(connection.row.connected_at),
        }
    }
}

/// Get an account
#[utoipa::path(get, path = "/api/v1/accounts/{account_id}", tag = "accounts",
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`")),
    responses((status = 200, body = Envelope<AccountWithIntegrations>)))]
pub(crate) async fn get_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(account): Path<String>,
) -> Result<Reply<AccountWithIntegrations>> {
    let account = find(&api, &partner, &account).await?;
    let filter = ConnectionFilter {
        account_id: Some(account.id),
        ..ConnectionFilter::default()
    };
    let connections = api.ctx.store.list_connections(partner.id, &filter).await?;
    let now = api.ctx.now();
    Ok(Reply(AccountWithIntegrations {
        account: account.into(),
        integrations: connections
            .into_iter()
            .map(|connection| IntegrationSummary::of(connection, now))
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use crate::testing::TestApi;

    #[tokio::test]
    async fn by_our_id_or_by_yours() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let id = acme.account("team/7 ü").await;
        let ours = acme.client.get(&format!("/api/v1/accounts/{id}")).await;
        insta::assert_snapshot!(ours.shown(), @r#"
        200 OK
        {
          "data": {
            "created_at": "2026-11-21T20:00:00.000Z",
            "display_name": null,
            "external_id": "team/7 ü",
            "id": "<uuid>",
            "integrations": [],
            "metadata": {},
            "updated_at": "2026-11-21T20:00:00.000Z"
          },
          "ok": true
        }
        "#);
        let yours = acme
            .client
            .get("/api/v1/accounts/ext:team%2F7%20%C3%BC")
            .await;
        assert_eq!(yours.data(), ours.data());
        // An external id alone is no id of ours.
        assert_eq!(
            acme.client
                .get("/api/v1/accounts/team%2F7%20%C3%BC")
                .await
                .code(),
            "NOT_FOUND"
        );
        assert_eq!(
            acme.client.get("/api/v1/accounts/%FF").await.code(),
            "INVALID_REQUEST"
        );
    }

    #[tokio::test]
    async fn integrations_are_listed_in_short() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let id = acme.account("a").await;
        api.connection(&acme, &id).await;
        let answer = acme.client.get(&format!("/api/v1/accounts/{id}")).await;
        insta::assert_snapshot!(answer.shown(), @r#"
        200 OK
        {
          "data": {
            "created_at": "2026-11-21T20:00:00.000Z",
            "display_name": null,
            "external_id": "a",
            "id": "<uuid>",
            "integrations": [
              {
                "connected_at": "2026-11-21T20:00:00.000Z",
                "id": "<uuid>",
                "provider": "sandbox",
                "status": "active"
              }
            ],
            "metadata": {},
            "updated_at": "2026-11-21T20:00:00.000Z"
          },
          "ok": true
        }
        "#);
    }
}
