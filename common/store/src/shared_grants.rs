//! Grants that hold one refresh token: those of one provider account under one OAuth client, where the provider gives
//! every connection of it the same.

use latchkey_domain::states::GrantState;

use crate::{
    GrantRow, LoadedGrant, Result, Store,
    grants::{LOADED_WITH, loaded_columns, read_loaded},
    sql::Sql,
};

/// Grants of one provider account that are looked at, the oldest: one of them presents the token for all others, also
/// for those beyond.
const MOST: u32 = 16;

impl Store {
    /// The grants of the same partner, client and provider account as this one, itself among them, the oldest first.
    /// Never another partner's: tokens do not cross. Nothing where the provider did not say whose account it is.
    pub async fn grants_sharing_with(&self, row: &GrantRow) -> Result<Vec<LoadedGrant>> {
        let rows = Sql::new(format!(
            "SELECT {} FROM connections mine \
             JOIN connections c ON c.auth_config_id = mine.auth_config_id \
             AND c.identity = mine.identity AND c.partner_id = mine.partner_id \
             JOIN grants g ON g.partner_id = c.partner_id AND g.connection_id = c.id \
             {LOADED_WITH} WHERE mine.partner_id = $1 AND mine.id = $2 AND mine.identity <> '' \
             AND c.revoked_at IS NULL AND g.state = $3 AND g.refreshable = 1 ORDER BY g.id LIMIT $4",
            loaded_columns()
        ))
        .bind(&row.partner_id)
        .bind(&row.connection_id)
        .bind(&GrantState::Active)
        .bind(&MOST)
        .rows(&self.engine.read)
        .await?;
        rows.iter().map(read_loaded).collect()
    }
}
