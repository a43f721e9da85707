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
