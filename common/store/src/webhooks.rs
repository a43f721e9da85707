//! What callbacks need: the secrets that a partner's webhooks are signed with, and the addresses that said
//! that they are gone.

use latchkey_domain::{PartnerId, Timestamp, WebhookSecretId};

use crate::{Result, Store, field::record, sql::Sql};

record! {
    /// A partner's webhook secret.
    pub struct WebhookSecretRow in "webhook_secrets" by "id" {
        /// Its id.
        pub id: WebhookSecretId,
        /// Whose.
        pub partner_id: PartnerId,
        /// The secret's bytes, sealed.
        pub sealed: Vec<u8>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When a replaced one signs no more; none for the current one.
        pub ends_at: Option<Timestamp>,
    }
}

impl Store {
    /// The secrets that sign now, the current one first.
    pub async fn webhook_secrets(
        &self,
        partner: PartnerId,
        now: Timestamp,
    ) -> Result<Vec<WebhookSecretRow>> {
        Sql::select::<WebhookSecretRow>(
            "WHERE partner_id = $1 AND (ends_at IS NULL OR ends_at > $2) \
             ORDER BY CASE WHEN ends_at IS NULL THEN 0 ELSE 1 END, id DESC",
        )
        .bind(&partner)
        .bind(&now)
        .all(&self.engine.read)
        .await
    }

    /// Keeps a partner's first secret; `false` if it has one.
    pub async fn insert_webhook_secret(&self, row: &WebhookSecretRow) -> Result<bool> {
        let added = Sql::insert(row)
            .push(" ON CONFLICT (partner_id) WHERE ends_at IS NULL DO NOTHING")
            .run(&self.engine.write)
            .await?;
        Ok(added > 0)
    }

    /// Puts another secret in the place of the current one, which signs beside it until `until`. Those that
    /// ended before are deleted.
    pub async fn replace_webhook_secret(
        &self,
        row: &WebhookSecretRow,
        until: Timestamp,
    ) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        Sql::new("DELETE FROM webhook_secrets WHERE partner_id = $1 AND ends_at <= $2")
            .bind(&row.partner_id)
            .bind(&row.created_at)
            .run(&mut *tx)
            .await?;
        Sql::new(
            "UPDATE webhook_secrets SET ends_at = $1 WHERE partner_id = $2 AND ends_at IS NULL",
        )
        .bind(&until)
        .bind(&row.partner_id)
        .run(&mut *tx)
        .await?;
        Sql::insert(row).run(&mut *tx).await?;
        self.engine.commit(tx).await
    }

    /// Notes that an address answered 410 Gone; nothing is posted there until `until`.
    pub async fn mark_callback_gone(
        &self,
        partner: PartnerId,
        address_hash: [u8; 32],
        until: Timestamp,
    ) -> Result<()> {
        Sql::new(
            "INSERT INTO callbacks_gone (partner_id, address_hash, until) VALUES ($1, $2, $3) \
             ON CONFLICT (partner_id, address_hash) DO UPDATE SET until = excluded.until",
        )
        .bind(&partner)
        .bind(&address_hash)
        .bind(&until)
        .run(&self.engine.write)
        .await
        .map(drop)
    }

    /// Until when nothing is posted to this address, if it said that it is gone.
    pub async fn callback_gone_until(
        &self,
        partner: PartnerId,
        address_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        Sql::new(
            "SELECT MAX(until) FROM callbacks_gone \
             WHERE partner_id = $1 AND address_hash = $2 AND until > $3",
        )
        .bind(&partner)
        .bind(&address_hash)
        .bind(&now)
        .scalar(&self.engine.read)
        .await
    }
}
