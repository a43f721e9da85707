//! Connections: an account's grant at a provider, as partners see it. What a partner sees as the status is
//! derived from the connection *and* its grant ([`Connection::status`]), so that there is one truth.

use std::collections::BTreeMap;

use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, GrantId, PartnerId, SessionId, Timestamp,
    states::{ConnectionStatus, GrantState},
};

use crate::{
    CompleteJob, GrantRow, Result, Store,
    field::{JsonMap, record},
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
            GrantState::Active
                if !self.grant.refreshable && !self.grant.view().token_lives(now) =>
            {
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

/// What an exchange brought: connection, grant, sealed tokens and the end of its session and job.
#[derive(Clone, Debug)]
pub struct NewConnection {
    /// The connection as it shall be. Its id is the one of [`Store::find_reconnect`], or new.
    pub connection: ConnectionRow,
    /// The grant's id: that of the connection found, or new.
    pub grant_id: GrantId,
    /// The generation that `sealed` is: 1 for a new grant, else the found grant's version + 1.
    pub version: i64,
    /// The token set, sealed for `grant_id` and `version`.
    pub sealed: Vec<u8>,
    /// When the tokens were issued.
    pub issued_at: Timestamp,
    /// When the access token ends, if the provider said.
    pub expires_at: Option<Timestamp>,
    /// When it shall be refreshed, if it can be.
    pub due_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// The session that led here; it is `completed` in the same transaction.
    pub session_id: Option<SessionId>,
    /// The job that did it; it ends in the same transaction.
    pub job: Option<CompleteJob>,
    /// Now.
    pub now: Timestamp,
}

impl Store {
    /// The living connection that connecting again with this auth config and identity keeps.
    pub async fn find_reconnect(
        &self,
        partner: PartnerId,
        account: AccountId,
        auth_config: AuthConfigId,
        identity: &str,
    ) -> Result<Option<Connection>> {
        unimplemented!()
    }

    /// Writes what an exchange brought, in one transaction with the end of its session and job. Connecting
    /// again clears doubt, cool-down and any open attempt: the generation is a new one.
    ///
    /// # Errors
    /// `Conflict` when the account was deleted, the session or job is no longer ours to end, or the grant
    /// moved on since it was read (read again, seal again). Nothing is written then.
    pub async fn store_connection(&self, new: &NewConnection) -> Result<Connection> {
        unimplemented!()
    }

    /// The partner's connections, latest connected first.
    pub async fn list_connections(
        &self,
        partner: PartnerId,
        filter: &ConnectionFilter,
    ) -> Result<Vec<Connection>> {
        unimplemented!()
    }

    /// One connection, disconnected ones included.
    pub async fn get_connection(
        &self,
        partner: PartnerId,
        id: ConnectionId,
    ) -> Result<Option<Connection>> {
        unimplemented!()
    }

    /// The connection that calls of this account use: the latest connected that was not disconnected.
    pub async fn primary_connection(
        &self,
        partner: PartnerId,
        account: AccountId,
        provider: &str,
    ) -> Result<Option<Connection>> {
        unimplemented!()
    }

    /// Sets service switches (those named; others stay) and returns the connection.
    pub async fn set_enabled_services(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        switches: &BTreeMap<String, bool>,
        now: Timestamp,
    ) -> Result<Option<Connection>> {
        unimplemented!()
    }

    /// Changes the label (Flowra's display name).
    pub async fn set_connection_label(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        label: Option<&str>,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// `active` ↔ `paused` by the partner; `false` if there is no such living connection.
    pub async fn pause_connection(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        paused: bool,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
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
        unimplemented!()
    }
}
