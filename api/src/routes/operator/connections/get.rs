//! `GET /operator/partners/{partner_id}/connections/{connection_id}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use latchkey_domain::{ConnectionId, Timestamp, states::ConnectionStatus};
use latchkey_oauth::spec::Evicts;
use latchkey_store::{Connection, ConnectionRow, RefreshRow};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    error::ApiError,
    extract::id,
    openapi::Time,
    reply::{Envelope, Reply, Result},
    routes::operator::find_partner,
    state::Api,
};

/// Refreshes shown: some days of a token that lives for an hour.
const REFRESHES: u32 = 50;

/// A connection with its grant's state and history. Never a token.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorConnection {
    /// Its id: the integration's.
    id: String,
    /// Whose user's.
    partner_id: String,
    /// Which end user's.
    account_id: String,
    /// The provider.
    provider: String,
    /// Under which OAuth client.
    auth_config_id: String,
    /// Who connected, as the provider calls them.
    account_label: Option<String>,
    /// `active`, `paused`, `expired`, `needs_reauth` or `revoked`.
    #[schema(value_type = String, example = "active")]
    status: ConnectionStatus,
    /// Why, where it is not simply well.
    reason: Option<String>,
    /// Since when.
    since: Time,
    /// All of it in one sentence.
    explanation: String,
    /// What may end it although all is well with it: more grants of one user than the provider lets an application
    /// hold.
    warning: Option<String>,
    /// The grant.
    grant_id: String,
    /// The generation it holds: grows by one with each refresh.
    version: i64,
    /// Whether the outcome of the last refresh is not known.
    in_doubt: bool,
    /// Failures in a row.
    failures: u32,
    /// The last failure.
    last_failure: Option<String>,
    /// When the end user last connected.
    connected_at: Time,
    /// When the access token ends.
    expires_at: Option<Time>,
    /// When it was last refreshed.
    last_refreshed_at: Option<Time>,
    /// When it will be.
    next_refresh_at: Option<Time>,
    /// When it dies unless it is refreshed.
    dies_at: Option<Time>,
    /// Its latest refreshes, newest first.
    refreshes: Vec<Refresh>,
}

/// One refresh.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refresh {
    /// When it ended.
    at: Time,
    /// From which generation.
    from_version: i64,
    /// To which, if it brought tokens.
    to_version: Option<i64>,
    /// `refreshed`, `transient`, `rate_limited`, `in_doubt`, `needs_reauth`, `operator` or `not_sent`.
    outcome: String,
    /// What the provider said against it.
    failure: Option<String>,
    /// From the claim to the answer, in milliseconds; none if its process died.
    took_ms: Option<u64>,
}

impl OperatorConnection {
    fn of(
        connection: Connection,
        refreshes: Vec<RefreshRow>,
        warning: Option<String>,
        now: Timestamp,
    ) -> Self {
        let outlook = connection.outlook(now);
        let Connection { row, grant } = connection;
        Self {
            id: row.id.to_string(),
            partner_id: row.partner_id.to_string(),
            account_id: row.account_id.to_string(),
            provider: row.provider,
            auth_config_id: row.auth_config_id.to_string(),
            account_label: row.label,
            status: outlook.status,
            reason: outlook.reason,
            since: Time(outlook.since),
            explanation: outlook.sentence,
            warning,
            grant_id: grant.id.to_string(),
            version: grant.version,
            in_doubt: grant.in_doubt,
            failures: grant.failures,
            last_failure: grant.last_failure,
            connected_at: Time(row.connected_at),
            expires_at: grant.expires_at.map(Time),
            last_refreshed_at: grant.last_refreshed_at.map(Time),
            next_refresh_at: outlook.next_refresh_at.map(Time),
            dies_at: outlook.dies_at.map(Time),
            refreshes: refreshes.into_iter().map(Refresh::from).collect(),
        }
    }
}

impl From<RefreshRow> for Refresh {
    fn from(row: RefreshRow) -> Self {
        let millis =
            |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            at: Time(row.ended_at),
            from_version: row.from_version,
            to_version: row.to_version,
            outcome: row.outcome,
            failure: row.failure,
            took_ms: row.took.map(millis),
        }
    }
}

/// Show a connection
///
/// What it is, since when, why and what happens next, with its latest refreshes; disconnected ones too.
#[utoipa::path(get, path = "/operator/partners/{partner_id}/connections/{connection_id}",
    tag = "connections",
    params(("partner_id" = String, Path, description = "The partner's id"),
        ("connection_id" = String, Path, description = "The connection's id")),
    responses((status = 200, body = Envelope<OperatorConnection>)))]
pub(crate) async fn get_connection(
    State(api): State<Arc<Api>>,
    Path((partner, connection)): Path<(String, String)>,
) -> Result<Reply<OperatorConnection>> {
    let partner = find_partner(&api, &partner).await?;
    let wanted = id::<ConnectionId>(&connection, "connection")?;
    let store = &api.ctx.store;
    let found = store.get_connection(partner.id, wanted).await?;
    let found = found.ok_or_else(|| ApiError::not_found("connection"))?;
    let refreshes = store.refresh_history(found.grant.key(), REFRESHES).await?;
    let warning = crowding(&api, &found.row).await?;
    Ok(Reply(OperatorConnection::of(
        found,
        refreshes,
        warning,
        api.ctx.now(),
    )))
}

/// Says so where the provider lets an application hold no more grants of this user than there are connections.
async fn crowding(api: &Api, row: &ConnectionRow) -> Result<Option<String>> {
    let store = &api.ctx.store;
    let config = store
        .get_usable_auth_config(row.partner_id, row.auth_config_id)
        .await?;
    let entry = api.ctx.catalog.get(&row.provider).zip(config);
    let most = entry.and_then(|(entry, config)| {
        let most = entry.spec(&config.params).lifetimes.max_live_grants?;
        Some((entry.display_name.as_str(), most))
    });
    let Some((name, most)) = most.filter(|_| row.revoked_at.is_none()) else {
        return Ok(None);
    };
    let connections = store.living_siblings(row).await? + 1;
    if connections < most.count as u64 {
        return Ok(None);
    }
    let gone = match most.evicts {
        Evicts::Oldest => "the oldest",
        Evicts::Any => "one of them",
    };
    Ok(Some(format!(
        "{name} lets an application hold {} grants of one user, and there are {connections} connections of this user: \
         each consent beyond that ends {gone}.",
        most.count
    )))
}
