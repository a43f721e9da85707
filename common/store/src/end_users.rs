//! End users by name: accounts with the switch that says whether they may be acted for.

use latchkey_domain::{AccountId, PartnerId, Timestamp};
use sqlx::any::AnyRow;

use crate::{
    AccountRow, Result, Store,
    accounts::containing,
    field::Record,
    sql::{Sql, column, columns, padded},
};

/// An account and whether it may be acted for.
#[derive(Clone, Debug, PartialEq)]
pub struct EndUser {
    /// The account.
    pub account: AccountRow,
    /// Whether it may.
    pub active: bool,
}

/// Which end users to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndUserFilter {
    /// Name or display name contains this, in any case.
    pub q: Option<String>,
    /// Exactly this name.
    pub name: Option<String>,
    /// Any name but this.
    pub name_not: Option<String>,
    /// Active ones, or inactive ones.
    pub active: Option<bool>,
    /// Made at this time or later.
    pub from: Option<Timestamp>,
    /// Made before this time.
    pub to: Option<Timestamp>,
    /// By what they are ordered.
    pub order: EndUserOrder,
    /// The last first.
    pub descending: bool,
    /// How many.
    pub limit: u32,
    /// After how many.
    pub offset: u32,
}

/// By what end users are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndUserOrder {
    /// The time they were made.
    #[default]
    Created,
    /// The time of their last change.
    Updated,
    /// Their name.
    Name,
}

fn select(rest: &str) -> Sql {
    Sql::new(format!(
        "SELECT {}, active FROM accounts WHERE partner_id = $1 AND deleted_at IS NULL{rest}",
        columns::<AccountRow>("")
    ))
}

fn read(row: &AnyRow) -> Result<EndUser> {
    Ok(EndUser {
        account: AccountRow::read(row, 0)?,
        active: column(row, AccountRow::COLUMNS.len())?,
    })
}

impl Store {
    /// The end user of this name.
    pub async fn get_end_user(&self, partner: PartnerId, name: &str) -> Result<Option<EndUser>> {
        let rows = select(" AND external_id = $2")
            .bind(&partner)
            .text(name)
            .rows(&self.engine.read)
            .await?;
        rows.first().map(read).transpose()
    }

    /// Those of these ids.
    pub async fn find_end_users(
        &self,
        partner: PartnerId,
        ids: &[AccountId],
    ) -> Result<Vec<EndUser>> {
        let ids: Vec<_> = ids.iter().collect();
        let found = select("").bind(&partner).any_of("id", &padded(&ids));
        found
            .rows(&self.engine.read)
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// Those of these names.
    pub async fn find_end_users_by_name(
        &self,
        partner: PartnerId,
        names: &[String],
    ) -> Result<Vec<EndUser>> {
        let names: Vec<_> = names.iter().collect();
        let found = select("")
            .bind(&partner)
            .any_of("external_id", &padded(&names));
        found
            .rows(&self.engine.read)
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// Switches an end user on or off; `false` if there is none.
    pub async fn set_end_user_active(
        &self,
        partner: PartnerId,
        id: AccountId,
        active: bool,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE accounts SET active = $1, updated_at = $2 \
             WHERE partner_id = $3 AND id = $4 AND deleted_at IS NULL",
        )
        .bind(&active)
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// End users, and how many there are in all.
    pub async fn list_end_users(
        &self,
        partner: PartnerId,
        filter: &EndUserFilter,
    ) -> Result<(Vec<EndUser>, u64)> {
        let pattern = filter.q.as_deref().map(containing);
        let matching = |sql: Sql| {
            let sql = sql
                .bind(&partner)
                .and_maybe("external_id =", filter.name.as_ref())
                .and_maybe("external_id <>", filter.name_not.as_ref())
                .and_maybe("active =", filter.active.as_ref())
                .and_maybe("created_at >=", filter.from.as_ref())
                .and_maybe("created_at <", filter.to.as_ref());
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
        let by = match filter.order {
            EndUserOrder::Created => "id",
            EndUserOrder::Updated => "updated_at",
            EndUserOrder::Name => "external_id",
        };
        let direction = if filter.descending { "DESC" } else { "ASC" };
        let rows = matching(select(""))
            .push(&format!(" ORDER BY {by} {direction}, id {direction}"))
            .number(" LIMIT", filter.limit)
            .number(" OFFSET", filter.offset)
            .rows(&self.engine.read)
            .await?;
        Ok((rows.iter().map(read).collect::<Result<_>>()?, total))
    }
}
