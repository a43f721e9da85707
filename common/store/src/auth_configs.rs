//! Auth configs: OAuth client credentials for one provider, owned by a partner or by the operator, who
//! shares its own with every partner.

use latchkey_domain::{AuthConfigId, PartnerId, Timestamp, states::AuthConfigStatus};

use crate::{
    Result, Store, StoreError,
    field::{JsonMap, record},
    sql::Sql,
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
        Sql::insert(row)
            .run(&self.engine.write)
            .await
            .map(drop)
            .map_err(|error| error.or_missing("there is no such partner"))
    }

    /// One of the partner's own.
    pub async fn get_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
    ) -> Result<Option<AuthConfigRow>> {
        Sql::select::<AuthConfigRow>("WHERE partner_id = $1 AND id = $2")
            .bind(&partner)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// One that the partner may use: its own or the operator's.
    pub async fn get_usable_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
    ) -> Result<Option<AuthConfigRow>> {
        Sql::select::<AuthConfigRow>("WHERE partner_id IN ($1, $2) AND id = $3")
            .bind(&partner)
            .bind(&PartnerId::OPERATOR)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// The one that serves when a session names none: the partner's newest enabled, else the operator's.
    pub async fn newest_enabled_auth_config(
        &self,
        partner: PartnerId,
        provider: &str,
    ) -> Result<Option<AuthConfigRow>> {
        // The operator's id is the smallest, so the partner's own come first.
        Sql::select::<AuthConfigRow>(
            "WHERE partner_id IN ($1, $2) AND provider = $3 AND status = 'enabled' \
             AND client_id <> '' ORDER BY partner_id DESC, id DESC LIMIT 1",
        )
        .bind(&partner)
        .bind(&PartnerId::OPERATOR)
        .text(provider)
        .one(&self.engine.read)
        .await
    }

    /// Finds the config of a callback URL. A browser comes back without a partner, so this one statement
    /// goes by the id alone; the session's state then decides whose session it is.
    pub async fn resolve_callback(&self, id: AuthConfigId) -> Result<Option<AuthConfigRow>> {
        Sql::select::<AuthConfigRow>("WHERE id = $1")
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// The partner's own, newest first.
    pub async fn list_auth_configs(&self, partner: PartnerId) -> Result<Vec<AuthConfigRow>> {
        Sql::select::<AuthConfigRow>("WHERE partner_id = $1 ORDER BY id DESC")
            .bind(&partner)
            .all(&self.engine.read)
            .await
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
        let from: Vec<_> = AuthConfigStatus::ALL
            .iter()
            .filter(|from| from.may_become(status))
            .collect();
        let changed = Sql::new(
            "UPDATE auth_configs SET status = $1, status_reason = $2, updated_at = $3 \
             WHERE partner_id = $4 AND id = $5",
        )
        .bind(&status)
        .bind(&reason.map(str::to_owned))
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .any_of("status", &from)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Takes the right to try out a config that its provider refused, if nobody did since it was read;
    /// `false` if it is not paused for that.
    pub async fn take_probe(&self, read: &AuthConfigRow, now: Timestamp) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE auth_configs SET updated_at = $1 WHERE partner_id = $2 AND id = $3 \
             AND status = 'paused' AND status_reason IS NOT NULL AND updated_at = $4",
        )
        .bind(&now)
        .bind(&read.partner_id)
        .bind(&read.id)
        .bind(&read.updated_at)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Changes a config and returns it; a conflict when its credentials changed since they were read.
    pub async fn update_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
        change: &AuthConfigChange,
        now: Timestamp,
    ) -> Result<Option<AuthConfigRow>> {
        let mut tx = self.engine.begin().await?;
        let found: Option<AuthConfigRow> =
            Sql::select::<AuthConfigRow>("WHERE partner_id = $1 AND id = $2")
                .bind(&partner)
                .bind(&id)
                .push(self.engine.for_update())
                .one(&mut *tx)
                .await?;
        let Some(mut row) = found else {
            return Ok(None);
        };
        let change = change.clone();
        row.name = change.name.unwrap_or(row.name);
        row.scopes = change.scopes.unwrap_or(row.scopes);
        row.params = change.params.unwrap_or(row.params);
        row.updated_at = now;
        if let Some(new) = change.credentials {
            if new.seen != row.version {
                return Err(StoreError::Conflict {
                    what: "the credentials changed meanwhile",
                });
            }
            row.version += 1;
            row.client_id = new.client_id;
            row.client_secret = new.client_secret;
        }
        Sql::new(
            "UPDATE auth_configs SET name = $1, scopes = $2, params = $3, client_id = $4, \
             client_secret = $5, version = $6, updated_at = $7 WHERE partner_id = $8 AND id = $9",
        )
        .bind(&row.name)
        .bind(&row.scopes)
        .bind(&row.params)
        .bind(&row.client_id)
        .bind(&row.client_secret)
        .bind(&row.version)
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        self.engine.commit(tx).await?;
        Ok(Some(row))
    }

    /// Deletes a config; a conflict while a connection or a session still uses it.
    pub async fn delete_auth_config(&self, partner: PartnerId, id: AuthConfigId) -> Result<bool> {
        // A shared config is used by other partners too, so its users are counted over all of them.
        let mut tx = self.engine.begin().await?;
        let used: u64 = Sql::new(
            "SELECT (SELECT COUNT(*) FROM connections \
                      WHERE auth_config_id = $1 AND revoked_at IS NULL) \
                  + (SELECT COUNT(*) FROM connect_sessions WHERE auth_config_id = $1 AND status IN \
                     ('pending', 'authorizing', 'awaiting_confirmation', 'exchanging')) \
                  + (SELECT COUNT(*) FROM grants \
                      WHERE auth_config_id = $1 AND state = 'revoking')",
        )
        .bind(&id)
        .scalar(&mut *tx)
        .await?;
        if used > 0 {
            let own: Option<AuthConfigRow> =
                Sql::select::<AuthConfigRow>("WHERE partner_id = $1 AND id = $2")
                    .bind(&partner)
                    .bind(&id)
                    .one(&mut *tx)
                    .await?;
            return match own {
                Some(_) => Err(StoreError::Conflict {
                    what: "connections or sessions still use this auth config",
                }),
                None => Ok(false),
            };
        }
        let deleted = Sql::new("DELETE FROM auth_configs WHERE partner_id = $1 AND id = $2")
            .bind(&partner)
            .bind(&id)
            .run(&mut *tx)
            .await?;
        self.engine.commit(tx).await?;
        Ok(deleted > 0)
    }
}
