//! Connected accounts as Flowra's clients see them: connections, and links that lead to some.

use std::collections::BTreeMap;

use latchkey_domain::{AccountId, AuthConfigId, ConnectionId, Timestamp, states::AuthConfigStatus};
use latchkey_store::{Link, Listed, ListedConnection, OfferedConfig, Scheme, Standing};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{config, scheme, status::Status, toolkit::ToolkitRef, user::Named};
use crate::{auth::Partner, error::ApiError, extract, openapi::Time, reply::Result, state::Api};

/// What stands for every secret.
const REDACTED: &str = "REDACTED";

/// A connected account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectedAccount {
    /// Its id.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    pub(crate) id: String,
    /// The toolkit it was connected for.
    pub(crate) toolkit: ToolkitRef,
    /// The auth config it was connected with.
    auth_config: AuthConfigRef,
    /// The name you gave it.
    pub(crate) display_name: Option<String>,
    /// A name to show: yours, else what the provider calls the user, else the toolkit's.
    #[schema(example = "ada@example.com")]
    pub(crate) label: String,
    /// The external user.
    #[serde(rename = "eUID")]
    #[schema(example = "user_42")]
    pub(crate) euid: String,
    /// Where it stands.
    pub(crate) status: Status,
    /// Why it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// Whether you switched it off.
    is_disabled: bool,
    /// When it was made.
    created_at: Time,
    /// When it last changed.
    updated_at: Time,
    /// What it holds; secrets are always redacted.
    state: State,
    /// Beside what other clients read.
    deprecated: Deprecated,
    /// Always empty.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    /// What the end user was asked before connecting.
    #[schema(value_type = Object)]
    params: Map<String, Value>,
}

/// The auth config of a connected account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuthConfigRef {
    /// Its id.
    #[schema(example = "ac_019aa000000070008000000000000000")]
    id: String,
    /// What its connections hold.
    #[schema(example = "OAUTH2")]
    auth_scheme: &'static str,
    /// Whether the operator's client serves.
    is_provider_managed: bool,
    /// Whether it takes no new connections.
    is_disabled: bool,
    /// The id once more.
    deprecated: DeprecatedConfig,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeprecatedConfig {
    /// The auth config's id.
    uuid: String,
}

/// What a connected account holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConnectedAccountState)]
pub(crate) struct State {
    /// The scheme.
    #[schema(example = "OAUTH2")]
    auth_scheme: &'static str,
    /// Its members; secrets are `REDACTED`.
    #[schema(value_type = Object)]
    val: Map<String, Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectedAccountDeprecated)]
struct Deprecated {
    /// What the provider calls the user; the list's `labels` filter by it.
    labels: Vec<String>,
    /// The id once more.
    uuid: String,
}

/// What a page of rows needs beside them.
struct Around {
    names: BTreeMap<AccountId, String>,
    configs: BTreeMap<AuthConfigId, OfferedConfig>,
    now: Timestamp,
}

/// When an id was made: the time stands in it (RFC 9562 §5.7).
fn made_at(id: ConnectionId) -> Timestamp {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or_default();
    Timestamp::from_micros(millis.saturating_mul(1000))
}

/// Rows as clients see them.
pub(crate) async fn views(
    api: &Api,
    partner: &Partner,
    rows: Vec<Listed>,
) -> Result<Vec<ConnectedAccount>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut accounts: Vec<AccountId> = rows.iter().map(account_of).collect();
    let mut configs: Vec<AuthConfigId> = rows.iter().map(config_of).collect();
    accounts.sort_unstable();
    accounts.dedup();
    configs.sort_unstable();
    configs.dedup();
    let store = &api.ctx.store;
    let (users, configs) = futures::try_join!(
        store.find_end_users(partner.id, &accounts),
        store.find_offered_configs(partner.id, &configs),
    )?;
    let around = Around {
        names: users
            .into_iter()
            .map(|u| (u.account.id, u.account.external_id))
            .collect(),
        configs: configs.into_iter().map(|c| (c.config.id, c)).collect(),
        now: api.ctx.now(),
    };
    Ok(rows
        .iter()
        .filter_map(|row| view(api, row, &around))
        .collect())
}

/// The account of a row.
pub(crate) fn account_of(row: &Listed) -> AccountId {
    match row {
        Listed::Connection(c) => c.connection.row.account_id,
        Listed::Link(l) => l.row.account_id,
    }
}

/// The auth config that a row is listed under.
pub(crate) fn config_of(row: &Listed) -> AuthConfigId {
    match row {
        Listed::Connection(c) => c
            .listed
            .listed_config_id
            .unwrap_or(c.connection.row.auth_config_id),
        Listed::Link(l) => l.row.config_id,
    }
}

/// The provider of a row.
pub(crate) fn provider_of(row: &Listed) -> &str {
    match row {
        Listed::Connection(c) => &c.connection.row.provider,
        Listed::Link(l) => &l.session.provider,
    }
}

/// `None` for what went meanwhile.
fn view(api: &Api, row: &Listed, around: &Around) -> Option<ConnectedAccount> {
    let euid = around.names.get(&account_of(row))?.clone();
    let id = config_of(row);
    let config = around.configs.get(&id);
    let auth_config = |held: Scheme| AuthConfigRef {
        id: id.to_string(),
        auth_scheme: scheme::word(held),
        is_provider_managed: config.is_some_and(config::is_managed),
        is_disabled: config.is_none_or(|c| c.config.status != AuthConfigStatus::Enabled),
        deprecated: DeprecatedConfig {
            uuid: id.to_string(),
        },
    };
    match row {
        Listed::Connection(connection) => {
            let named = config.and_then(|c| c.offer.toolkit.as_ref());
            let toolkit = toolkit_of(connection, named.map(String::as_str));
            let held = connection.listed.scheme;
            of_connection(
                api,
                connection,
                &toolkit,
                euid,
                auth_config(held),
                around.now,
            )
        }
        Listed::Link(link) => of_link(api, link, euid, auth_config(link.row.scheme), around.now),
    }
}

/// The toolkit that a connection is shown with: its config's, else the first that it reaches.
fn toolkit_of(connection: &ListedConnection, named: Option<&str>) -> String {
    let first = connection.toolkits.first().map(String::as_str);
    named
        .or(first)
        .unwrap_or(&connection.connection.row.provider)
        .to_owned()
}

fn of_connection(
    api: &Api,
    listed: &ListedConnection,
    toolkit: &str,
    euid: String,
    auth_config: AuthConfigRef,
    now: Timestamp,
) -> Option<ConnectedAccount> {
    let connection = &listed.connection;
    let (row, grant) = (&connection.row, &connection.grant);
    let standing = Standing::of(connection, now)?;
    let status = Status::of(standing);
    let toolkit = ToolkitRef::of(api, toolkit);
    let mut val = secrets(listed.listed.scheme, grant.refreshable);
    if listed.listed.scheme == Scheme::Oauth2 {
        val.insert("scope".to_owned(), row.scopes.join(" ").into());
        if let Some(end) = grant.expires_at {
            val.insert("expired_at".to_owned(), json!(Time(end)));
        }
    }
    val.insert("status".to_owned(), status.as_str().into());
    val.extend(row.params.clone());
    let display_name = listed.listed.display_name.clone();
    let label = display_name.clone().or_else(|| row.label.clone());
    let reason = connection.reason().filter(|_| standing != Standing::Active);
    Some(ConnectedAccount {
        id: row.id.to_string(),
        label: label.unwrap_or_else(|| toolkit.slug.clone()),
        toolkit,
        auth_config,
        display_name,
        euid,
        status,
        status_reason: reason.map(str::to_owned),
        is_disabled: standing == Standing::Paused,
        created_at: Time(made_at(row.id)),
        updated_at: Time(row.updated_at),
        state: State {
            auth_scheme: scheme::word(listed.listed.scheme),
            val,
        },
        deprecated: Deprecated {
            labels: row.label.iter().cloned().collect(),
            uuid: row.id.to_string(),
        },
        data: Map::new(),
        params: row.params.clone(),
    })
}

fn of_link(
    api: &Api,
    link: &Link,
    euid: String,
    auth_config: AuthConfigRef,
    now: Timestamp,
) -> Option<ConnectedAccount> {
    let (row, session) = (&link.row, &link.session);
    let status = Status::of(Standing::of_link(link, now)?);
    let toolkit = ToolkitRef::of(api, &row.toolkit);
    let mut val = Map::from_iter([("status".to_owned(), Value::from(status.as_str()))]);
    val.extend(session.params.clone());
    Some(ConnectedAccount {
        id: row.id.to_string(),
        label: row
            .display_name
            .clone()
            .unwrap_or_else(|| toolkit.slug.clone()),
        toolkit,
        auth_config,
        display_name: row.display_name.clone(),
        euid,
        status,
        status_reason: session.error.clone(),
        is_disabled: false,
        created_at: Time(made_at(row.id)),
        updated_at: Time(session.updated_at),
        state: State {
            auth_scheme: scheme::word(row.scheme),
            val,
        },
        deprecated: Deprecated {
            labels: Vec::new(),
            uuid: row.id.to_string(),
        },
        data: Map::new(),
        params: session.params.clone(),
    })
}

/// The secrets of a scheme, redacted.
fn secrets(held: Scheme, refreshable: bool) -> Map<String, Value> {
    let mut names: Vec<&str> = scheme::fields(held)
        .iter()
        .map(|field| field.name)
        .collect();
    if held == Scheme::Oauth2 {
        names.push("access_token");
        names.extend(refreshable.then_some("refresh_token"));
    }
    let redacted = names
        .into_iter()
        .map(|name| (name.to_owned(), REDACTED.into()));
    redacted.collect()
}

/// What was given for a connection, redacted.
pub(crate) fn redacted_state(held: Scheme, refreshable: bool) -> State {
    State {
        auth_scheme: scheme::word(held),
        val: secrets(held, refreshable),
    }
}

/// The row that a path names: a connection, or a link that leads to one.
///
/// # Errors
/// The same 404 for a malformed id, a missing row, another partner's and another user's.
pub(crate) async fn find(api: &Api, partner: &Partner, user: &Named, id: &str) -> Result<Listed> {
    let missing = || ApiError::not_found("connected account");
    let id: ConnectionId = extract::id(id, "connected account")?;
    let store = &api.ctx.store;
    let mut rows = store.read_listed(partner.id, &[id]).await?;
    if rows.is_empty() {
        // Connecting again kept an older id, which the announced one leads to.
        let link = store.get_link(partner.id, id).await?;
        let kept = link
            .and_then(|link| link.session.connection_id)
            .ok_or_else(missing)?;
        rows = store.read_listed(partner.id, &[kept]).await?;
    }
    let row = rows
        .pop()
        .filter(|row| user.sees(account_of(row)))
        .ok_or_else(missing)?;
    partner.may_reach(provider_of(&row))?;
    Ok(row)
}

/// The id of a row.
pub(crate) fn id_of(row: &Listed) -> ConnectionId {
    match row {
        Listed::Connection(c) => c.connection.row.id,
        Listed::Link(l) => l.row.id,
    }
}

/// One row as clients see it.
pub(crate) async fn one(api: &Api, partner: &Partner, row: Listed) -> Result<ConnectedAccount> {
    let seen = views(api, partner, vec![row]).await?;
    seen.into_iter()
        .next()
        .ok_or_else(|| ApiError::not_found("connected account"))
}
