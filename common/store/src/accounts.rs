//! Accounts: the partners' end users, named by the partner's own `external_id`, which is unique among the
//! partner's living accounts.

use latchkey_domain::{AccountId, PartnerId, Timestamp};

use crate::{
    Connection, Result, Store,
    connections::revoke_account,
    field::{JsonMap, record},
    sessions::FORGET,
    sql::Sql,
};

record! {
    /// An account.
    pub struct AccountRow in "accounts" by "id" {
        /// Its id.
        pub id: AccountId,
        /// Whose end user it is.
        pub partner_id: PartnerId,
        /// The partner's name for it, 1–255 characters.
        pub external_id: String,
        /// A name for people, at most 255 characters.
        pub display_name: Option<String>,
        /// The partner's own data, at most 16 KiB.
        pub metadata: JsonMap,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// When it was deleted.
        pub deleted_at: Option<Timestamp>,
    }
}

/// Which accounts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// Exactly this external id.
    pub external_id: Option<String>,
    /// External id or display name contains this, in any case.
    pub q: Option<String>,
    /// How many.
    pub limit: u32,
    /// After how many.
    pub offset: u32,
}

impl Store {
    /// Adds an account; a conflict when a living one has the external id.
    pub async fn insert_account(&self, row: &AccountRow) -> Result<()> {
        Sql::insert(row)
            .run(&self.engine.write)
            .await
            .map(drop)
            .map_err(|error| {
                error
                    .or_conflict("an account with this external_id exists")
                    .or_missing("there is no such partner")
            })
    }

    /// A living account.
    pub async fn get_account(
        &self,
        partner: PartnerId,
        id: AccountId,
    ) -> Result<Option<AccountRow>> {
        Sql::select::<AccountRow>("WHERE partner_id = $1 AND id = $2 AND deleted_at IS NULL")
            .bind(&partner)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// A living account by the partner's name for it.
    pub async fn get_account_by_external(
        &self,
        partner: PartnerId,
        external_id: &str,
    ) -> Result<Option<AccountRow>> {
        Sql::select::<AccountRow>(
            "WHERE partner_id = $1 AND external_id = $2 AND deleted_at IS NULL",
        )
        .bind(&partner)
        .text(external_id)
        .one(&self.engine.read)
        .await
    }

    /// Living accounts, newest first, and how many there are in all.
    pub async fn list_accounts(
        &self,
        partner: PartnerId,
        filter: &AccountFilter,
    ) -> Result<(Vec<AccountRow>, u64)> {
        let pattern = filter.q.as_deref().map(containing);
        let matching = |sql: Sql| {
            let sql = sql
                .bind(&partner)
                .and_maybe("external_id =", filter.external_id.as_ref());
            let Some(pattern) = &pattern else {
                return sql;
            };
            let sql = sql.bind(pattern);
            let n = sql.bound();
            sql.push(&format!(
                " AND (LOWER(external_id) LIKE LOWER(${n}) ESCAPE '!' \
                 OR LOWER(display_name) LIKE LOWER(${n}) ESCAPE '!')"
            ))
        };
        let total: u64 = matching(Sql::new(
            "SELECT COUNT(*) FROM accounts WHERE partner_id = $1 AND deleted_at IS NULL",
        ))
        .scalar(&self.engine.read)
        .await?;
        let rows = matching(Sql::select::<AccountRow>(
            "WHERE partner_id = $1 AND deleted_at IS NULL",
        ))
        .number(" ORDER BY id DESC LIMIT", filter.limit)
        .number(" OFFSET", filter.offset)
        .all(&self.engine.read)
        .await?;
        Ok((rows, total))
    }

    /// Changes a living account and returns it. `None` leaves a field as it is; the inner `None` clears.
    pub async fn update_account(
        &self,
        partner: PartnerId,
        id: AccountId,
        display_name: Option<Option<&str>>,
        metadata: Option<&JsonMap>,
        now: Timestamp,
    ) -> Result<Option<AccountRow>> {
        let mut tx = self.engine.begin().await?;
        let found: Option<AccountRow> =
            Sql::select::<AccountRow>("WHERE partner_id = $1 AND id = $2 AND deleted_at IS NULL")
                .bind(&partner)
                .bind(&id)
                .push(self.engine.for_update())
                .one(&mut *tx)
                .await?;
        let Some(mut row) = found else {
            return Ok(None);
        };
        if let Some(name) = display_name {
            row.display_name = name.map(str::to_owned);
        }
        if let Some(metadata) = metadata {
            row.metadata = metadata.clone();
        }
        row.updated_at = now;
        Sql::new(
            "UPDATE accounts SET display_name = $1, metadata = $2, updated_at = $3 \
             WHERE partner_id = $4 AND id = $5",
        )
        .bind(&row.display_name)
        .bind(&row.metadata)
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        self.engine.commit(tx).await?;
        Ok(Some(row))
    }

    /// Deletes an account in one transaction: it is gone for every reader, its connections are revoked and
    /// their grants `revoking`, its open sessions failed. Returns the connections to revoke at the
    /// providers; `None` if there is no such living account.
    pub async fn delete_account(
        &self,
        partner: PartnerId,
        id: AccountId,
        now: Timestamp,
    ) -> Result<Option<Vec<Connection>>> {
        let mut tx = self.engine.begin().await?;
        let deleted = Sql::new(
            "UPDATE accounts SET deleted_at = $1, updated_at = $1 \
             WHERE partner_id = $2 AND id = $3 AND deleted_at IS NULL",
        )
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        if deleted == 0 {
            return Ok(None);
        }
        Sql::new(format!(
            "UPDATE connect_sessions SET status = 'failed', error = 'account_deleted', {FORGET}, \
             updated_at = $1 WHERE partner_id = $2 AND account_id = $3 AND status IN \
             ('pending', 'authorizing', 'awaiting_confirmation', 'exchanging')"
        ))
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        let revoked = revoke_account(&mut tx, partner, id, now).await?;
        self.engine.commit(tx).await?;
        Ok(Some(revoked))
    }
}

/// The LIKE pattern (escape `!`) of texts that contain this one, in any case.
pub(crate) fn containing(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern + "%"
}
