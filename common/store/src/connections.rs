//! Connections: an account's grant at a provider, as partners see it. What a partner sees as the status is
//! derived from the connection *and* its grant ([`Connection::status`]), so that there is one truth.

use std::collections::BTreeMap;

use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, PartnerId, Timestamp,
    states::{ConnectionStatus, GrantState},
};
use sqlx::AnyConnection;

use crate::{
    GrantRow, Result, Store,
    field::{JsonMap, record},
    sql::{Sql, columns},
};

record! {
    /// A connection's own row.
    pub struct ConnectionRow in "connections" by "id" {
        /// Its id.
        pub id: ConnectionId,
        /// Whose user's.
        pub partner_id: PartnerId,
        /// Which end user's.
        pub account_id: AccountId,
        /// Under which OAuth client.
        pub auth_config_id: AuthConfigId,
        /// The provider's slug.
        pub provider: String,
        /// The provider's stable id of the user or workspace; empty where it has none.
        pub identity: String,
        /// What people call it (an email address, a team).
        pub label: Option<String>,
        /// `active`, `paused` or `revoked`: what was decided here. See [`Connection::status`].
        pub status: ConnectionStatus,
        /// Why it is not active, where that was decided here.
        pub reason: Option<String>,
        /// Switches by service or permission id; absent means on.
        pub enabled_services: BTreeMap<String, bool>,
        /// The scopes that were granted.
        pub scopes: Vec<String>,
        /// What calls need beside the token (an instance URL, a workspace id).
        pub params: JsonMap,
        /// When the user last connected; the latest is the account's primary.
        pub connected_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// When it was disconnected.
        pub revoked_at: Option<Timestamp>,
    }
}

/// A connection with its grant's narrow row.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The connection.
    pub row: ConnectionRow,
    /// Its grant.
    pub grant: GrantRow,
}

impl Connection {
    /// What partners see.
    pub fn status(&self, now: Timestamp) -> ConnectionStatus {
        if self.row.status == ConnectionStatus::Revoked {
            return ConnectionStatus::Revoked;
        }
        match self.grant.state {
            GrantState::Revoking | GrantState::Revoked => ConnectionStatus::Revoked,
            GrantState::NeedsReauth => ConnectionStatus::NeedsReauth,
            GrantState::Active if self.row.status == ConnectionStatus::Paused => {
                ConnectionStatus::Paused
            }
            GrantState::Active if !self.grant.refreshable && !self.grant.token_lives(now) => {
                ConnectionStatus::Expired
            }
            GrantState::Active => ConnectionStatus::Active,
        }
    }

    /// Why it is not active, if a reason is known.
    pub fn reason(&self) -> Option<&str> {
        self.row.reason.as_deref().or(self.grant.reason.as_deref())
    }
}

/// Which connections to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// Of this account.
    pub account_id: Option<AccountId>,
    /// At this provider.
    pub provider: Option<String>,
    /// Under this auth config.
    pub auth_config_id: Option<AuthConfigId>,
    /// Also those that were disconnected.
    pub revoked_too: bool,
    /// How many; 0 for as many as an account can have.
    pub limit: u32,
    /// After how many.
    pub offset: u32,
}

/// Connections that one account can list at once: far more than there are providers.
const MAX_PER_ACCOUNT: u32 = 1000;

impl From<(ConnectionRow, GrantRow)> for Connection {
    fn from((row, grant): (ConnectionRow, GrantRow)) -> Self {
        Self { row, grant }
    }
}

/// `SELECT … FROM connections c JOIN grants g …`; the condition follows.
pub(crate) fn joined() -> Sql {
    Sql::new(format!(
        "SELECT {}, {} FROM connections c \
         JOIN grants g ON g.partner_id = c.partner_id AND g.connection_id = c.id ",
        columns::<ConnectionRow>("c."),
        columns::<GrantRow>("g.")
    ))
}

impl Sql {
    /// Runs a joined select; its first connection.
    pub(crate) async fn connection<'c, E>(self, on: E) -> Result<Option<Connection>>
    where
        E: sqlx::Executor<'c, Database = sqlx::Any>,
    {
        let found = self.pairs(on).await?;
        Ok(found.into_iter().next().map(Connection::from))
    }
}

impl Store {
    /// The partner's connections, latest connected first.
    pub async fn list_connections(
        &self,
        partner: PartnerId,
        filter: &ConnectionFilter,
    ) -> Result<Vec<Connection>> {
        let limit = if filter.limit == 0 {
            MAX_PER_ACCOUNT
        } else {
            filter.limit
        };
        let living = if filter.revoked_too {
            ""
        } else {
            " AND c.revoked_at IS NULL"
        };
        let found = joined()
            .push("WHERE c.partner_id = $1")
            .push(living)
            .bind(&partner)
            .and_maybe("c.account_id =", filter.account_id.as_ref())
            .and_maybe("c.provider =", filter.provider.as_ref())
            .and_maybe("c.auth_config_id =", filter.auth_config_id.as_ref())
            .push(" ORDER BY c.connected_at DESC, c.id DESC")
            .number(" LIMIT", limit)
            .number(" OFFSET", filter.offset)
            .pairs(&self.engine.read)
            .await?;
        Ok(found.into_iter().map(Connection::from).collect())
    }

    /// One connection, disconnected ones included.
    pub async fn get_connection(
        &self,
        partner: PartnerId,
        id: ConnectionId,
    ) -> Result<Option<Connection>> {
        joined()
            .push("WHERE c.partner_id = $1 AND c.id = $2")
            .bind(&partner)
            .bind(&id)
            .connection(&self.engine.read)
            .await
    }

    /// The connection that calls of this account use: the latest connected that was not disconnected.
    pub async fn primary_connection(
        &self,
        partner: PartnerId,
        account: AccountId,
        provider: &str,
    ) -> Result<Option<Connection>> {
        joined()
            .push(
                "WHERE c.partner_id = $1 AND c.account_id = $2 AND c.provider = $3 \
                 AND c.revoked_at IS NULL ORDER BY c.connected_at DESC, c.id DESC LIMIT 1",
            )
            .bind(&partner)
            .bind(&account)
            .text(provider)
            .connection(&self.engine.read)
            .await
    }

    /// How many other living connections hold a grant of the same provider account under the same OAuth
    /// client. Of all partners, because a shared client's grants at one account die together. Where the
    /// provider does not say who connected, only the same end user's connections can be told to be siblings.
    pub async fn living_siblings(&self, of: &ConnectionRow) -> Result<u64> {
        let others: i64 = Sql::new(
            "SELECT COUNT(*) FROM connections WHERE auth_config_id = $1 AND identity = $2 \
             AND id <> $3 AND revoked_at IS NULL \
             AND (identity <> '' OR (partner_id = $4 AND account_id = $5))",
        )
        .bind(&of.auth_config_id)
        .text(&of.identity)
        .bind(&of.id)
        .bind(&of.partner_id)
        .bind(&of.account_id)
        .scalar(&self.engine.read)
        .await?;
        // A count is never negative.
        Ok(u64::try_from(others).unwrap_or_default())
    }

    /// Sets service switches (those named; others stay) and returns the connection.
    pub async fn set_enabled_services(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        switches: &BTreeMap<String, bool>,
        now: Timestamp,
    ) -> Result<Option<Connection>> {
        let mut tx = self.engine.begin().await?;
        let found: Option<ConnectionRow> = Sql::select::<ConnectionRow>(
            "WHERE partner_id = $1 AND id = $2 AND revoked_at IS NULL",
        )
        .bind(&partner)
        .bind(&id)
        .push(self.engine.for_update())
        .one(&mut *tx)
        .await?;
        let Some(mut row) = found else {
            return Ok(None);
        };
        row.enabled_services.extend(switches.clone());
        Sql::new(
            "UPDATE connections SET enabled_services = $1, updated_at = $2 \
             WHERE partner_id = $3 AND id = $4",
        )
        .bind(&row.enabled_services)
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        self.engine.commit(tx).await?;
        self.get_connection(partner, id).await
    }

    /// `active` ↔ `paused` by the partner; `false` if there is no such living connection.
    pub async fn pause_connection(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        paused: bool,
        now: Timestamp,
    ) -> Result<bool> {
        let (from, to) = if paused {
            (ConnectionStatus::Active, ConnectionStatus::Paused)
        } else {
            (ConnectionStatus::Paused, ConnectionStatus::Active)
        };
        let changed = Sql::new(
            "UPDATE connections SET status = $1, updated_at = $2 \
             WHERE partner_id = $3 AND id = $4 AND status = $5",
        )
        .bind(&to)
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .bind(&from)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Disconnects: the connection is `revoked` and its grant `revoking`, so local use stops at once; row
    /// and sealed tokens stay until [`Store::forget_grant`]. Returns what to revoke at the provider; `None`
    /// if there is no such living connection.
    pub async fn mark_disconnected(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Connection>> {
        let mut tx = self.engine.begin().await?;
        let revoked = revoke(&mut tx, partner, id, reason, now).await?;
        self.engine.commit(tx).await?;
        Ok(revoked)
    }
}

/// Revokes all living connections of an account that is being deleted.
pub(crate) async fn revoke_account(
    tx: &mut AnyConnection,
    partner: PartnerId,
    account: AccountId,
    now: Timestamp,
) -> Result<Vec<Connection>> {
    let living: Vec<ConnectionRow> = Sql::select::<ConnectionRow>(
        "WHERE partner_id = $1 AND account_id = $2 AND revoked_at IS NULL ORDER BY id",
    )
    .bind(&partner)
    .bind(&account)
    .all(&mut *tx)
    .await?;
    let mut revoked = Vec::with_capacity(living.len());
    for row in living {
        revoked.extend(revoke(tx, partner, row.id, Some("account_deleted"), now).await?);
    }
    Ok(revoked)
}

/// Connection `revoked`, grant `revoking`: no claim is won on it any more, what is under way may land.
async fn revoke(
    tx: &mut AnyConnection,
    partner: PartnerId,
    id: ConnectionId,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<Option<Connection>> {
    let changed = Sql::new(
        "UPDATE connections SET status = 'revoked', reason = $1, revoked_at = $2, updated_at = $2 \
         WHERE partner_id = $3 AND id = $4 AND revoked_at IS NULL",
    )
    .bind(&reason.map(str::to_owned))
    .bind(&now)
    .bind(&partner)
    .bind(&id)
    .run(&mut *tx)
    .await?;
    if changed == 0 {
        return Ok(None);
    }
    Sql::new("DELETE FROM connection_toolkits WHERE partner_id = $1 AND connection_id = $2")
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
    Sql::new(
        "UPDATE grants SET state = 'revoking', due_at = NULL, wake_at = NULL, rev = rev + 1, \
         updated_at = $1 WHERE partner_id = $2 AND connection_id = $3 \
         AND state IN ('active', 'needs_reauth')",
    )
    .bind(&now)
    .bind(&partner)
    .bind(&id)
    .run(&mut *tx)
    .await?;
    joined()
        .push("WHERE c.partner_id = $1 AND c.id = $2")
        .bind(&partner)
        .bind(&id)
        .connection(&mut *tx)
        .await
}
