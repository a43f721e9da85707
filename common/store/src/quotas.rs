//! Quotas: the calls of a month that a plan without overage has, handed out to processes in blocks. What is in
//! the ledger and what is handed out never add up to more than the plan has, however many processes call: a
//! receipt that counts takes its call out of its block in the same transaction.

use std::time::Duration;

use latchkey_domain::{PartnerId, QuotaBlockId, Timestamp};

use crate::{
    COMMIT_WATERMARK, Result, Store,
    calls::HOUR,
    sql::{Sql, column},
};

/// How long a block holds: longer than a call that was let go may take to be recorded.
pub const QUOTA_BLOCK: Duration = Duration::from_secs(180);
/// The largest block, and the share of what is left that one block takes: near the end it is one call.
const LARGEST: u64 = 100;
const SHARE: u64 = 20;

/// A block of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaBlock {
    /// Its id.
    pub id: QuotaBlockId,
    /// How many calls.
    pub calls: u64,
}

impl Store {
    /// Takes a block of the calls that a month has, under this id; nothing if none is left.
    pub async fn take_quota(
        &self,
        partner: PartnerId,
        id: QuotaBlockId,
        included: u64,
        now: Timestamp,
    ) -> Result<Option<QuotaBlock>> {
        let month = now.month_start(0);
        let watermark = self.usage_watermark().await?.unwrap_or_default();
        let cut = watermark.minus(COMMIT_WATERMARK).floor(HOUR);
        let cut = cut.clamp(month, month.month_start(1));
        let mut tx = self.engine.begin().await?;
        // The partner's row serves as the lock: blocks are taken one after the other.
        Sql::new("SELECT id FROM partners WHERE id = $1")
            .push(self.engine.for_update())
            .bind(&partner)
            .rows(&mut *tx)
            .await?;
        Sql::new(
            "DELETE FROM quota_blocks WHERE partner_id = $1 \
             AND (expires_at <= $2 OR calls <= 0 OR month < $3)",
        )
        .bind(&partner)
        .bind(&now)
        .bind(&month)
        .run(&mut *tx)
        .await?;
        // One statement, so that a call that moves from a block to the ledger is seen once. Receipts that say
        // `sent` for longer than a block holds have lost theirs, and will count.
        let rows = Sql::new(
            "SELECT CAST(COALESCE((SELECT SUM(billed) FROM usage_hourly WHERE partner_id = $1 \
             AND start >= $2 AND start < $3), 0) + COALESCE((SELECT SUM(billed) FROM calls \
             WHERE partner_id = $1 AND hour IS NOT NULL AND hour >= $3 AND hour < $4), 0) \
             + COALESCE((SELECT SUM(calls) FROM quota_blocks WHERE partner_id = $1), 0) \
             + (SELECT COUNT(*) FROM calls WHERE outcome = 'sent' AND created_at < $5 \
             AND partner_id = $1 AND not_billed_reason IS NULL) AS BIGINT)",
        )
        .bind(&partner)
        .bind(&month)
        .bind(&cut)
        .bind(&month.month_start(1))
        .bind(&now.minus(QUOTA_BLOCK))
        .rows(&mut *tx)
        .await?;
        let gone: u64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        let left = included.saturating_sub(gone);
        if left == 0 {
            self.engine.commit(tx).await?;
            return Ok(None);
        }
        let calls = (left / SHARE).clamp(1, LARGEST);
        Sql::new(
            "INSERT INTO quota_blocks (id, partner_id, month, calls, expires_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&id)
        .bind(&partner)
        .bind(&month)
        .bind(&calls)
        .bind(&(now + QUOTA_BLOCK))
        .run(&mut *tx)
        .await?;
        self.engine.commit(tx).await?;
        Ok(Some(QuotaBlock { id, calls }))
    }

    /// Gives calls of a block back that will not be made.
    pub async fn give_back_quota(
        &self,
        partner: PartnerId,
        id: QuotaBlockId,
        calls: u64,
    ) -> Result<()> {
        Sql::new("UPDATE quota_blocks SET calls = calls - $1 WHERE partner_id = $2 AND id = $3")
            .bind(&calls)
            .bind(&partner)
            .bind(&id)
            .run(&self.engine.write)
            .await
            .map(drop)
    }
}
