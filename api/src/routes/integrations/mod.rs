//! Integrations: what an account is connected to, as the partner sees and switches it.

pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod list_default;
pub(crate) mod refresh;
#[cfg(test)]
mod tests;
pub(crate) mod update;

use latchkey_domain::{Timestamp, states::ConnectionStatus};
use latchkey_store::{AccountRow, Connection, ConnectionFilter};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{openapi::Time, reach, reply::Result, state::Api};

/// What an account granted at a provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct Integration {
    /// Its id.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    id: String,
    /// The provider.
    #[schema(example = "google")]
    pub(crate) provider: String,
    /// `active`, `expired`, `needs_reauth` or `paused`.
    #[schema(value_type = String, example = "active")]
    pub(crate) status: ConnectionStatus,
    /// Why it is not active, or what is the matter though it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when it has this status.
    since: Time,
    /// All of it in one sentence: what it is, why, and what happens next.
    #[schema(example = "Active; the next refresh is at 2026-11-21T20:48:00Z.")]
    explanation: String,
    /// Who connected, as the provider calls them.
    #[schema(example = "ada@example.com")]
    account_label: Option<String>,
    /// When the end user last connected.
    connected_at: Time,
    /// When the access token ends; Latchkey refreshes it before.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
    /// When it was last refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refreshed_at: Option<Time>,
    /// When it will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_refresh_at: Option<Time>,
    /// When it dies unless it is refreshed, or at all where it cannot be: idle and hard limits of the
    /// provider, as far as they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    dies_at: Option<Time>,
    /// What calls may use, by permission.
    enabled_services: Vec<Switch>,
}

/// A permission and whether calls may use it.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Switch {
    /// The permission's id.
    #[schema(example = "gmail.read")]
    service_name: String,
    /// Whether calls may use it: it was granted, and you did not switch it off.
    is_enabled: bool,
}

impl Integration {
    /// As partners see it now.
    pub(crate) fn of(connection: &Connection, now: Timestamp) -> Self {
        let (row, grant) = (&connection.row, &connection.grant);
        let outlook = connection.outlook(now);
        let is_active = outlook.status == ConnectionStatus::Active;
        let switches = row
            .enabled_services
            .iter()
            .map(|(name, is_enabled)| Switch {
                service_name: name.clone(),
                is_enabled: *is_enabled,
            });
        Self {
            id: row.id.to_string(),
            provider: row.provider.clone(),
            status: outlook.status,
            reason: outlook.reason,
            since: Time(outlook.since),
            explanation: outlook.sentence,
            account_label: row.label.clone(),
            connected_at: Time(row.connected_at),
            expires_at: grant.expires_at.map(Time),
            last_refreshed_at: grant.last_refreshed_at.map(Time),
            next_refresh_at: outlook.next_refresh_at.filter(|_| is_active).map(Time),
            dies_at: outlook.dies_at.map(Time),
            enabled_services: switches.collect(),
        }
    }

    /// The permissions that calls may use.
    pub(crate) fn enabled(&self) -> Vec<String> {
        let enabled = self
            .enabled_services
            .iter()
            .filter(|switch| switch.is_enabled);
        enabled.map(|switch| switch.service_name.clone()).collect()
    }
}

/// The living connections of an account, latest first.
async fn connections(
    api: &Api,
    account: &AccountRow,
    provider: Option<&str>,
) -> Result<Vec<Connection>> {
    let filter = ConnectionFilter {
        account_id: Some(account.id),
        provider: provider.map(str::to_owned),
        ..ConnectionFilter::default()
    };
    Ok(api
        .ctx
        .store
        .list_connections(account.partner_id, &filter)
        .await?)
}

/// The connection that calls of the account use.
async fn primary(api: &Api, account: &AccountRow, provider: &str) -> Result<Connection> {
    let store = &api.ctx.store;
    let found = store
        .primary_connection(account.partner_id, account.id, provider)
        .await?;
    found.ok_or_else(|| reach::not_connected(account, provider))
}
