//! Data keys, wrapped by a key-encryption key: one current per partner and purpose. The operator's also
//! hold the pepper of the API keys.

use latchkey_domain::{DataKeyId, PartnerId, Timestamp};

use crate::{
    Result, Store, StoreError,
    field::{record, state},
    sql::Sql,
};

/// What a wrapped key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Seals a partner's secrets.
    Data,
    /// The pepper of API-key hashes (the operator's only).
    Pepper,
}

impl KeyPurpose {
    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Pepper => "pepper",
        }
    }

    /// The purpose of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "data" => Some(Self::Data),
            "pepper" => Some(Self::Pepper),
            _ => None,
        }
    }
}
state!(KeyPurpose);

record! {
    /// A wrapped data key.
    pub struct DataKeyRow in "data_keys" by "id" {
        /// Its id; every sealed value names it.
        pub id: DataKeyId,
        /// Whose secrets it seals.
        pub partner_id: PartnerId,
        /// What it is for.
        pub purpose: KeyPurpose,
        /// Which key-encryption key wraps it.
        pub kek_id: String,
        /// The wrapped key.
        pub wrapped: Vec<u8>,
        /// Whether new values are sealed with it; at most one per partner and purpose.
        pub current: bool,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

impl Store {
    /// Adds a current key; if another process was first, returns that one instead.
    pub async fn insert_data_key(&self, row: &DataKeyRow) -> Result<DataKeyRow> {
        Sql::insert(row)
            .push(" ON CONFLICT (partner_id, purpose) WHERE current = 1 DO NOTHING")
            .run(&self.engine.write)
            .await
            .map_err(|error| error.or_missing("there is no such partner"))?;
        // Whoever was first, its key is the current one now.
        self.current_data_key(row.partner_id, row.purpose)
            .await?
            .ok_or(StoreError::Conflict {
                what: "the current data key was retired meanwhile",
            })
    }

    /// The key that seals new values.
    pub async fn current_data_key(
        &self,
        partner: PartnerId,
        purpose: KeyPurpose,
    ) -> Result<Option<DataKeyRow>> {
        Sql::select::<DataKeyRow>("WHERE partner_id = $1 AND purpose = $2 AND current = 1")
            .bind(&partner)
            .bind(&purpose)
            .one(&self.engine.read)
            .await
    }

    /// One key.
    pub async fn get_data_key(
        &self,
        partner: PartnerId,
        id: DataKeyId,
    ) -> Result<Option<DataKeyRow>> {
        Sql::select::<DataKeyRow>("WHERE partner_id = $1 AND id = $2")
            .bind(&partner)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// A partner's keys, oldest first.
    pub async fn data_keys(&self, partner: PartnerId) -> Result<Vec<DataKeyRow>> {
        Sql::select::<DataKeyRow>("WHERE partner_id = $1 ORDER BY id")
            .bind(&partner)
            .all(&self.engine.read)
            .await
    }

    /// Keys that another key-encryption key than `kek_id` wraps, of all partners, for re-wrapping.
    pub async fn data_keys_not_under(&self, kek_id: &str, limit: u32) -> Result<Vec<DataKeyRow>> {
        Sql::select::<DataKeyRow>("WHERE kek_id <> $1 ORDER BY partner_id, id LIMIT $2")
            .text(kek_id)
            .bind(&limit)
            .all(&self.engine.read)
            .await
    }

    /// Replaces the wrapping of a key that is still under `seen_kek`; says whether.
    pub async fn rewrap_data_key(
        &self,
        partner: PartnerId,
        id: DataKeyId,
        seen_kek: &str,
        kek_id: &str,
        wrapped: &[u8],
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE data_keys SET kek_id = $1, wrapped = $2 \
             WHERE partner_id = $3 AND id = $4 AND kek_id = $5",
        )
        .text(kek_id)
        .bind(&wrapped.to_vec())
        .bind(&partner)
        .bind(&id)
        .text(seen_kek)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }
}
