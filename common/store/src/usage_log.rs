//! Receipts page by page, for clients that count pages.

use latchkey_domain::{AccountId, PartnerId, Timestamp};

use crate::{CallRow, Result, Store, sql::Sql};

/// Which receipts, and which page of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageLogFilter {
    /// For this account.
    pub account_id: Option<AccountId>,
    /// Completed at or after.
    pub from: Option<Timestamp>,
    /// Completed before.
    pub to: Option<Timestamp>,
    /// How many.
    pub limit: u32,
    /// After how many.
    pub offset: u32,
}

impl Store {
    /// Receipts of calls whose outcome is known, newest first, and how many there are in all.
    pub async fn usage_log(
        &self,
        partner: PartnerId,
        filter: &UsageLogFilter,
    ) -> Result<(Vec<CallRow>, u64)> {
        let matching = |sql: Sql| {
            sql.bind(&partner)
                .and_maybe("account_id =", filter.account_id.as_ref())
                .and_maybe("completed_at >=", filter.from.as_ref())
                .and_maybe("completed_at <", filter.to.as_ref())
        };
        let total: u64 = matching(Sql::new(
            "SELECT COUNT(*) FROM calls WHERE partner_id = $1 AND hour IS NOT NULL",
        ))
        .scalar(&self.engine.read)
        .await?;
        let rows = matching(Sql::select::<CallRow>(
            "WHERE partner_id = $1 AND hour IS NOT NULL",
        ))
        .number(" ORDER BY id DESC LIMIT", filter.limit)
        .number(" OFFSET", filter.offset)
        .all(&self.engine.read)
        .await?;
        Ok((rows, total))
    }
}
