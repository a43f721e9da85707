//! API keys: a public prefix to find the row by, and the peppered hash to compare. The key itself is
//! shown once and never stored.

use latchkey_domain::{KeyId, PartnerId, Timestamp};

use crate::{
    PartnerRow, Result, Store,
    field::{record, state},
    sql::{Sql, columns},
};

/// What a key reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// Every provider; billed.
    Live,
    /// The sandbox provider only; never billed.
    Test,
}

impl KeyMode {
    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The mode of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}
state!(KeyMode);

record! {
    /// An API key's row.
    pub struct ApiKeyRow in "api_keys" by "id" {
        /// Its id.
        pub id: KeyId,
        /// Whose key it is.
        pub partner_id: PartnerId,
        /// The public prefix by which it is found (`sk_live_` and 8 characters).
        pub lookup: String,
        /// HMAC-SHA256 of the key with the pepper.
        pub hash: Vec<u8>,
        /// What it reaches.
        pub mode: KeyMode,
        /// A name its owner gave it.
        pub name: Option<String>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it was revoked.
        pub revoked_at: Option<Timestamp>,
        /// When it was last used, to the minute.
        pub last_used_at: Option<Timestamp>,
    }
}

impl Store {
    /// Adds a key unless the partner already has `max_live` unrevoked keys of that mode; says whether.
    pub async fn insert_api_key(&self, row: &ApiKeyRow, max_live: u32) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        // The partner's row serves as the lock, so that two inserts cannot both see room for one.
        Sql::new("SELECT id FROM partners WHERE id = $1")
            .push(self.engine.for_update())
            .bind(&row.partner_id)
            .rows(&mut *tx)
            .await?;
        let live: u32 = Sql::new(
            "SELECT COUNT(*) FROM api_keys \
             WHERE partner_id = $1 AND mode = $2 AND revoked_at IS NULL",
        )
        .bind(&row.partner_id)
        .bind(&row.mode)
        .scalar(&mut *tx)
        .await?;
        if live >= max_live {
            return Ok(false);
        }
        Sql::insert(row)
            .run(&mut *tx)
            .await
            .map_err(|error| error.or_missing("there is no such partner"))?;
        self.engine.commit(tx).await?;
        Ok(true)
    }

    /// The unrevoked keys with this public prefix, each with its partner. The prefix is not secret: the
    /// caller compares hashes.
    pub async fn find_api_keys(&self, lookup: &str) -> Result<Vec<(ApiKeyRow, PartnerRow)>> {
        Sql::new(format!(
            "SELECT {}, {} FROM api_keys k JOIN partners p ON p.id = k.partner_id \
             WHERE k.lookup = $1 AND k.revoked_at IS NULL",
            columns::<ApiKeyRow>("k."),
            columns::<PartnerRow>("p.")
        ))
        .text(lookup)
        .pairs(&self.engine.read)
        .await
    }

    /// A partner's keys, newest first, revoked ones included.
    pub async fn list_api_keys(&self, partner: PartnerId) -> Result<Vec<ApiKeyRow>> {
        Sql::select::<ApiKeyRow>("WHERE partner_id = $1 ORDER BY id DESC")
            .bind(&partner)
            .all(&self.engine.read)
            .await
    }

    /// Revokes a key; `false` if there is no such living key.
    pub async fn revoke_api_key(
        &self,
        partner: PartnerId,
        id: KeyId,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE api_keys SET revoked_at = $1 \
             WHERE partner_id = $2 AND id = $3 AND revoked_at IS NULL",
        )
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Notes that a key was used. Call it at most once a minute and key.
    pub async fn touch_api_key(&self, partner: PartnerId, id: KeyId, now: Timestamp) -> Result<()> {
        Sql::new("UPDATE api_keys SET last_used_at = $1 WHERE partner_id = $2 AND id = $3")
            .bind(&now)
            .bind(&partner)
            .bind(&id)
            .run(&self.engine.write)
            .await
            .map(drop)
    }
}
