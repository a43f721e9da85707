//! How auth configs are offered as toolkits: the columns of `auth_configs` beside the credentials.

use latchkey_domain::{AuthConfigId, PartnerId, Timestamp};
use sqlx::AnyConnection;

use crate::{
    AuthConfigRow, Result, Store, StoreError,
    field::{record, state},
    sql::{Sql, column, columns, padded},
};

/// What a connection holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Tokens of an OAuth 2.0 consent.
    #[default]
    Oauth2,
    /// A key that the provider gave out.
    ApiKey,
    /// A user name and a password, for HTTP Basic.
    Basic,
    /// A token that is presented as it is.
    BearerToken,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Oauth2, Self::ApiKey, Self::Basic, Self::BearerToken];

    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oauth2 => "oauth2",
            Self::ApiKey => "api_key",
            Self::Basic => "basic",
            Self::BearerToken => "bearer_token",
        }
    }

    /// The scheme of this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text)
    }
}

state!(Scheme);

record! {
    /// How an auth config is offered.
    pub struct OfferRow in "auth_configs" by "id" {
        /// The config.
        pub id: AuthConfigId,
        /// Its owner.
        pub partner_id: PartnerId,
        /// The toolkit it is offered as; configs made for a whole provider name none.
        pub toolkit: Option<String>,
        /// What its connections hold.
        pub scheme: Scheme,
        /// The operator's config whose client serves in its place; its own credentials are empty then.
        pub managed_by: Option<AuthConfigId>,
        /// A name for people.
        pub display_name: Option<String>,
        /// The only tools that its connections may run; none for all.
        pub tools: Option<Vec<String>>,
    }
}

/// An auth config as it is offered.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedConfig {
    /// The config.
    pub config: AuthConfigRow,
    /// How it is offered.
    pub offer: OfferRow,
}

impl From<(AuthConfigRow, OfferRow)> for OfferedConfig {
    fn from((config, offer): (AuthConfigRow, OfferRow)) -> Self {
        Self { config, offer }
    }
}

fn select(rest: &str) -> Sql {
    Sql::new(format!(
        "SELECT {}, {} FROM auth_configs {rest}",
        columns::<AuthConfigRow>(""),
        columns::<OfferRow>("")
    ))
}

impl Store {
    /// Adds an auth config with how it is offered.
    pub async fn insert_offered_config(&self, new: &OfferedConfig) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        Sql::insert(&new.config)
            .run(&mut *tx)
            .await
            .map_err(|error| error.or_missing("there is no such partner"))?;
        set_offer(&new.offer).run(&mut *tx).await?;
        self.engine.commit(tx).await
    }

    /// Changes how a config is offered; says whether it is there.
    pub async fn set_offer(&self, offer: &OfferRow, now: Timestamp) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let changed = set_offer(offer).run(&mut *tx).await?;
        Sql::new("UPDATE auth_configs SET updated_at = $1 WHERE partner_id = $2 AND id = $3")
            .bind(&now)
            .bind(&offer.partner_id)
            .bind(&offer.id)
            .run(&mut *tx)
            .await?;
        self.engine.commit(tx).await?;
        Ok(changed > 0)
    }

    /// The partner's own, newest first.
    pub async fn list_offered_configs(&self, partner: PartnerId) -> Result<Vec<OfferedConfig>> {
        let found = select("WHERE partner_id = $1 AND deleted_at IS NULL ORDER BY id DESC")
            .bind(&partner)
            .pairs(&self.engine.read)
            .await?;
        Ok(found.into_iter().map(OfferedConfig::from).collect())
    }

    /// Those of these ids that the partner may use: its own and the operator's.
    pub async fn find_offered_configs(
        &self,
        partner: PartnerId,
        ids: &[AuthConfigId],
    ) -> Result<Vec<OfferedConfig>> {
        let ids: Vec<_> = ids.iter().collect();
        let found = select("WHERE partner_id IN ($1, $2) AND deleted_at IS NULL")
            .bind(&partner)
            .bind(&PartnerId::OPERATOR)
            .any_of("id", &padded(&ids))
            .pairs(&self.engine.read)
            .await?;
        Ok(found.into_iter().map(OfferedConfig::from).collect())
    }

    /// Takes a config away, if no living connection is listed under it: nothing lists or uses it any more, nothing
    /// connects with it, and it is forgotten by [`Store::purge_auth_configs`] once nothing needs it. Returns how many
    /// connections keep it, `None` if there is no such config.
    pub async fn hide_auth_config(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        let mut tx = self.engine.begin().await?;
        // What is being stored with it holds it, and is waited for here, before the connections are counted.
        let found = Sql::new(
            "SELECT id FROM auth_configs WHERE partner_id = $1 AND id = $2 AND deleted_at IS NULL",
        )
        .bind(&partner)
        .bind(&id)
        .push(self.engine.for_update())
        .rows(&mut *tx)
        .await?;
        if found.is_empty() {
            return Ok(None);
        }
        let kept_by = Sql::new(
            "SELECT COUNT(*) FROM connections WHERE partner_id = $1 \
             AND COALESCE(listed_config_id, auth_config_id) = $2 AND revoked_at IS NULL",
        )
        .bind(&partner)
        .bind(&id)
        .scalar(&mut *tx)
        .await?;
        if kept_by == 0 {
            Sql::new(
                "UPDATE auth_configs SET deleted_at = $1, status = 'disabled', updated_at = $1 \
                 WHERE partner_id = $2 AND id = $3",
            )
            .bind(&now)
            .bind(&partner)
            .bind(&id)
            .run(&mut *tx)
            .await?;
        }
        self.engine.commit(tx).await?;
        Ok(Some(kept_by))
    }

    /// Deletes up to `limit` hidden configs that no connection, no session and no revocation needs; returns how
    /// many.
    pub async fn purge_auth_configs(&self, limit: u32) -> Result<u64> {
        Sql::new(
            "DELETE FROM auth_configs WHERE (partner_id, id) IN \
             (SELECT a.partner_id, a.id FROM auth_configs a WHERE a.deleted_at IS NOT NULL \
              AND NOT EXISTS (SELECT 1 FROM connections c \
                  WHERE c.auth_config_id = a.id AND c.revoked_at IS NULL) \
              AND NOT EXISTS (SELECT 1 FROM connect_sessions s WHERE s.partner_id = a.partner_id \
                  AND s.status = 'exchanging' AND (s.auth_config_id = a.id OR s.id IN \
                      (SELECT l.session_id FROM connect_links l \
                       WHERE l.partner_id = a.partner_id AND l.config_id = a.id))) \
              AND NOT EXISTS (SELECT 1 FROM grants g JOIN connections d \
                  ON d.partner_id = g.partner_id AND d.id = g.connection_id \
                  WHERE d.partner_id = a.partner_id AND g.auth_config_id = a.id \
                  AND g.state = 'revoking') LIMIT $1)",
        )
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }

    /// The newest enabled OAuth client of the operator for this provider: what managed configs stand on.
    pub async fn newest_shared_auth_config(&self, provider: &str) -> Result<Option<AuthConfigRow>> {
        Sql::select::<AuthConfigRow>(
            "WHERE partner_id = $1 AND provider = $2 AND status = 'enabled' AND client_id <> '' \
             ORDER BY id DESC LIMIT 1",
        )
        .bind(&PartnerId::OPERATOR)
        .text(provider)
        .one(&self.engine.read)
        .await
    }

    /// Holds the configs that a connection is made with until this transaction ends.
    ///
    /// # Errors
    /// `Conflict` if one of them was taken away.
    pub(crate) async fn hold_auth_configs(
        &self,
        tx: &mut AnyConnection,
        partner: PartnerId,
        ids: [AuthConfigId; 2],
    ) -> Result<()> {
        let rows = Sql::new(
            "SELECT deleted_at FROM auth_configs WHERE partner_id IN ($1, $2) AND id IN ($3, $4)",
        )
        .bind(&partner)
        .bind(&PartnerId::OPERATOR)
        .bind(&ids[0])
        .bind(&ids[1])
        .push(self.engine.for_share())
        .rows(tx)
        .await?;
        for row in &rows {
            if column::<Option<Timestamp>>(row, 0)?.is_some() {
                return Err(StoreError::Conflict {
                    what: "the auth config was deleted meanwhile",
                });
            }
        }
        Ok(())
    }
}

fn set_offer(offer: &OfferRow) -> Sql {
    Sql::new(
        "UPDATE auth_configs SET toolkit = $1, scheme = $2, managed_by = $3, display_name = $4, \
         tools = $5 WHERE partner_id = $6 AND id = $7",
    )
    .bind(&offer.toolkit)
    .bind(&offer.scheme)
    .bind(&offer.managed_by)
    .bind(&offer.display_name)
    .bind(&offer.tools)
    .bind(&offer.partner_id)
    .bind(&offer.id)
}
