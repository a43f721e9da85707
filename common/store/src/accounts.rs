//! Accounts: the partners' end users, named by the partner's own `external_id`, which is unique among the
//! partner's living accounts.

use latchkey_domain::{AccountId, PartnerId, Timestamp};

use crate::{
    Connection, Result, Store,
    field::{JsonMap, record},
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
        unimplemented!()
    }

    /// A living account.
    pub async fn get_account(
        &self,
        partner: PartnerId,
        id: AccountId,
    ) -> Result<Option<AccountRow>> {
        unimplemented!()
    }

    /// A living account by the partner's name for it.
    pub async fn get_account_by_external(
        &self,
        partner: PartnerId,
        external_id: &str,
    ) -> Result<Option<AccountRow>> {
        unimplemented!()
    }

    /// Living accounts, newest first, and how many there are in all.
    pub async fn list_accounts(
        &self,
        partner: PartnerId,
        filter: &AccountFilter,
    ) -> Result<(Vec<AccountRow>, u64)> {
        unimplemented!()
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
        unimplemented!()
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
        unimplemented!()
    }
}
