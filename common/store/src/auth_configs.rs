//! Auth configs: OAuth client credentials for one provider, owned by a partner or by the operator, who
//! shares its own with every partner.

use latchkey_domain::{AuthConfigId, PartnerId, Timestamp, states::AuthConfigStatus};

use crate::{
    Result, Store,
    field::{JsonMap, record},
};

record! {
    /// An auth config.
    pub struct AuthConfigRow in "auth_configs" by "id" {
        /// Its id; part of its callback URL.
        pub id: AuthConfigId,
        /// Its owner; [`PartnerId::OPERATOR`] for shared ones.
        pub partner_id: PartnerId,
        /// The provider's slug.
        pub provider: String,
        /// A name for people.
        pub name: String,
        /// The OAuth client id.
        pub client_id: String,
        /// The client secret, sealed for this row and `version`; public clients have none.
        pub client_secret: Option<Vec<u8>>,
        /// Scopes asked for when a session names none.
        pub scopes: Vec<String>,
        /// Values for the catalogue entry's placeholders (`{app.base_url}`).
        pub params: JsonMap,
        /// Whether it may be used.
        pub status: AuthConfigStatus,
        /// Why it is paused.
        pub status_reason: Option<String>,
        /// Grows with each change of the credentials.
        pub version: i64,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
    }
}

/// What may change of an auth config; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthConfigChange {
    /// Its name.
    pub name: Option<String>,
    /// Default scopes.
    pub scopes: Option<Vec<String>>,
    /// Placeholder values.
    pub params: Option<JsonMap>,
    /// New credentials.
    pub credentials: Option<NewCredentials>,
}

/// Credentials that replace those of version `seen`.
#[derive(Clone, PartialEq)]
pub struct NewCredentials {
    /// The version that was read; the row is at `seen + 1` afterwards.
    pub seen: i64,
    /// The OAuth client id.
    pub client_id: String,
    /// The client secret, sealed for version `seen + 1`.
    pub client_secret: Option<Vec<u8>>,
}

impl std::fmt::Debug for NewCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewCredentials({}, after {})", self.client_id, self.seen)
    }
}

impl Store {
    /// Adds an auth config.
    pub async fn insert_auth_config(&self, row: &AuthConfigRow) -> Result<()> {
        unimplemented!()
    }

    /// One of the partner's own.
    pub async fn get_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
    ) -> Result<Option<AuthConfigRow>> {
        unimplemented!()
    }

    /// One that the partner may use: its own or the operator's.
    pub async fn get_usable_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
    ) -> Result<Option<AuthConfigRow>> {
        unimplemented!()
    }

    /// The one that serves when a session names none: the partner's newest enabled, else the operator's.
    pub async fn newest_enabled_auth_config(
        &self,
        partner: PartnerId,
        provider: &str,
    ) -> Result<Option<AuthConfigRow>> {
        unimplemented!()
    }

    /// Finds the config of a callback URL. A browser comes back without a partner, so this one statement
    /// goes by the id alone; the session's state then decides whose session it is.
    pub async fn resolve_callback(&self, id: AuthConfigId) -> Result<Option<AuthConfigRow>> {
        unimplemented!()
    }

    /// The partner's own, newest first.
    pub async fn list_auth_configs(&self, partner: PartnerId) -> Result<Vec<AuthConfigRow>> {
        unimplemented!()
    }

    /// Moves a config to another status; `false` if it is not there or may not go there from its own.
    pub async fn set_auth_config_status(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
        status: AuthConfigStatus,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Changes a config and returns it; a conflict when its credentials changed since they were read.
    pub async fn update_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
        change: &AuthConfigChange,
        now: Timestamp,
    ) -> Result<Option<AuthConfigRow>> {
        unimplemented!()
    }

    /// Deletes a config; a conflict while a connection or a session still uses it.
    pub async fn delete_auth_config(&self, partner: PartnerId, id: AuthConfigId) -> Result<bool> {
        unimplemented!()
    }
}
