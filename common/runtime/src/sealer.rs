//! [`Sealer`]: seals and opens a partner's secrets. It joins the key ring, the wrapped data keys in the store
//! and a bounded cache of opened ones, so that a seal costs no query and no handler sees a key.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{Clock, DataKeyId, Entropy, PartnerId};
use latchkey_store::{DataKeyRow, KeyPurpose, Store, StoreError};
use latchkey_telemetry::Metrics;
use latchkey_vault::{Aad, DataKey, KeyRing, Pepper, VaultError, WrappedKey};
use moka::future::Cache;
use secrecy::SecretSlice;

/// Opened data keys kept at once: one a partner, some 500 bytes each.
const CACHED_KEYS: u64 = 20_000;
/// How long an opened key is kept: a shredded partner's key is gone from every process after it.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// Why a secret could not be sealed or opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SealError {
    /// The data key could not be read or written.
    #[error("the data key of partner {partner} could not be loaded")]
    Store {
        /// Whose.
        partner: PartnerId,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The value or its key does not open. Counted: it means damage, a lost key, or moved ciphertext.
    #[error("{table}.{column} of partner {partner} does not open")]
    Refused {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Whose.
        partner: PartnerId,
        /// Why.
        #[source]
        source: VaultError,
    },
    /// The data key that sealed a value is gone.
    #[error("data key {key} of partner {partner} is not in the store")]
    NoKey {
        /// Whose.
        partner: PartnerId,
        /// Which.
        key: DataKeyId,
    },
}

/// Seals and opens secrets; cheap to share.
#[derive(Debug)]
pub struct Sealer {
    ring: KeyRing,
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
    opened: Cache<(PartnerId, DataKeyId), Arc<DataKey>>,
    current: Cache<(PartnerId, KeyPurpose), Arc<DataKey>>,
}

/// A partner's key at hand. It is kept for as long as one attempt takes.
#[derive(Clone, Debug)]
pub struct SealingKey {
    key: Arc<DataKey>,
    partner: PartnerId,
    entropy: Arc<dyn Entropy>,
}

impl SealingKey {
    /// See [`Sealer::seal`].
    pub fn seal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        version: i64,
        plain: &[u8],
    ) -> Vec<u8> {
        let aad = Aad {
            table,
            column,
            partner: self.partner,
            row,
            version,
        };
        latchkey_vault::seal(&self.key, &aad, plain, &*self.entropy)
    }
}

impl Sealer {
    /// A sealer with these key-encryption keys over this store.
    pub fn new(
        ring: KeyRing,
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Self {
        Self {
            ring,
            store,
            clock,
            entropy,
            metrics,
            opened: Cache::builder()
                .max_capacity(CACHED_KEYS)
                .time_to_live(CACHED_FOR)
                .build(),
            current: Cache::builder()
                .max_capacity(CACHED_KEYS)
                .time_to_live(CACHED_FOR)
                .build(),
        }
    }

    /// Seals `plain` for one place: it opens only as the same column of the same row and version.
    ///
    /// # Errors
    /// [`SealError`] when the partner's data key cannot be had.
    pub async fn seal(
        &self,
        partner: PartnerId,
        table: &'static str,
        column: &'static str,
        row: &str,
        version: i64,
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = self.at_hand(partner).await?;
        Ok(key.seal(table, column, row, version, plain))
    }

    /// The key that a partner's secrets are sealed with, for keeping: whoever is about to be given a secret that exists
    /// nowhere else can then seal it, wherever the store is by then.
    ///
    /// # Errors
    /// [`SealError`] when the partner's data key cannot be had.
    pub async fn at_hand(&self, partner: PartnerId) -> Result<SealingKey, SealError> {
        Ok(SealingKey {
            key: self.current_key(partner, KeyPurpose::Data).await?,
            partner,
            entropy: Arc::clone(&self.entropy),
        })
    }

    /// Opens what [`Sealer::seal`] sealed for the same place.
    ///
    /// # Errors
    /// [`SealError`]; a value that does not open is counted in `latchkey_aead_failures_total`.
    pub async fn open(
        &self,
        partner: PartnerId,
        table: &'static str,
        column: &'static str,
        row: &str,
        version: i64,
        blob: &[u8],
    ) -> Result<SecretSlice<u8>, SealError> {
        let refused = |source| SealError::Refused {
            table,
            column,
            partner,
            source,
        };
        let opened = async {
            let id = latchkey_vault::sealed_with(blob).map_err(refused)?;
            let key = self.key(partner, id).await?;
            let aad = Aad {
                table,
                column,
                partner,
                row,
                version,
            };
            latchkey_vault::open(&key, &aad, blob).map_err(refused)
        }
        .await;
        if matches!(
            opened,
            Err(SealError::Refused { .. } | SealError::NoKey { .. })
        ) {
            self.metrics.aead_failure(table);
        }
        opened
    }

    /// The pepper of API-key hashes, made at first use.
    ///
    /// # Errors
    /// [`SealError`] when its row does not open: the key file belongs to another store.
    pub async fn pepper(&self) -> Result<Pepper, SealError> {
        let key = self
            .current_key(PartnerId::OPERATOR, KeyPurpose::Pepper)
            .await?;
        Ok(Pepper::of(&key))
    }

    async fn key(&self, partner: PartnerId, id: DataKeyId) -> Result<Arc<DataKey>, SealError> {
        if let Some(opened) = self.opened.get(&(partner, id)).await {
            return Ok(opened);
        }
        let load = async {
            let row = self.store.get_data_key(partner, id).await;
            let row = row.map_err(|source| SealError::Store { partner, source })?;
            self.unwrap_row(&row.ok_or(SealError::NoKey { partner, key: id })?)
        };
        // Boxed: reading one is rare, and would make the future of everybody who seals and opens larger.
        Box::pin(self.opened.try_get_with((partner, id), load))
            .await
            .map_err(cloned)
    }

    async fn current_key(
        &self,
        partner: PartnerId,
        purpose: KeyPurpose,
    ) -> Result<Arc<DataKey>, SealError> {
        if let Some(current) = self.current.get(&(partner, purpose)).await {
            return Ok(current);
        }
        let load = async {
            let failed = |source| SealError::Store { partner, source };
            let known = self.store.current_data_key(partner, purpose).await;
            let row = if let Some(row) = known.map_err(failed)? {
                row
            } else {
                let fresh = self.fresh_row(partner, purpose);
                self.store.insert_data_key(&fresh).await.map_err(failed)?
            };
            self.unwrap_row(&row)
        };
        Box::pin(self.current.try_get_with((partner, purpose), load))
            .await
            .map_err(cloned)
    }

    fn fresh_row(&self, partner: PartnerId, purpose: KeyPurpose) -> DataKeyRow {
        let now = self.clock.now();
        let key = DataKey::generate(DataKeyId::new(now, &*self.entropy), &*self.entropy);
        let wrapped = self.ring.wrap(&key, partner, &*self.entropy);
        DataKeyRow {
            id: key.id(),
            partner_id: partner,
            purpose,
            kek_id: wrapped.kek_id,
            wrapped: wrapped.bytes,
            current: true,
            created_at: now,
        }
    }

    fn unwrap_row(&self, row: &DataKeyRow) -> Result<Arc<DataKey>, SealError> {
        let wrapped = WrappedKey {
            kek_id: row.kek_id.clone(),
            bytes: row.wrapped.clone(),
        };
        self.ring
            .unwrap_key(row.id, row.partner_id, &wrapped)
            .map(Arc::new)
            .map_err(|source| SealError::Refused {
                table: "data_keys",
                column: "wrapped",
                partner: row.partner_id,
                source,
            })
    }
}

// The cache hands one error to all who waited for the same key.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form `map_err` gives it in"
)]
fn cloned(error: Arc<SealError>) -> SealError {
    SealError::clone(&error)
}
