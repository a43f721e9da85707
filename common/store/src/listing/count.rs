//! How many rows a list has in all.

use latchkey_domain::{PartnerId, Timestamp};

use super::{ListingFilter, ListingOrder, Standing, statement::Branch};
use crate::{Result, Store, sql::Sql};

impl Store {
    /// How many there are, counted no further than `most`: no more than so many rows of each part of the list are
    /// looked at, so this is quick however long the list.
    pub async fn count_listed_up_to(
        &self,
        partner: PartnerId,
        filter: &ListingFilter,
        most: u32,
        now: Timestamp,
    ) -> Result<u64> {
        let mut sql = Sql::new("SELECT COUNT(*) FROM (").bind(&partner).bind(&now);
        let branches = Branch::all(filter, ListingOrder::Created);
        if branches.is_empty() {
            return Ok(0);
        }
        // A part that was cut has `most` by itself, so what the parts have in common takes nothing from the answer.
        for (n, branch) in branches.iter().enumerate() {
            let union = if n == 0 { "" } else { " UNION " };
            let (id, cut) = (branch.id(), format!(") AS b{n}"));
            sql = sql.push(&format!("{union}SELECT * FROM (SELECT {id} FROM "));
            sql = branch.push_to(sql).number(" LIMIT", most).push(&cut);
        }
        let counted: u64 = sql.push(") AS counted").scalar(&self.engine.read).await?;
        Ok(counted.min(u64::from(most)))
    }

    /// How many there are, in one snapshot. This looks at every row.
    pub async fn count_listed(
        &self,
        partner: PartnerId,
        filter: &ListingFilter,
        now: Timestamp,
    ) -> Result<u64> {
        // Nearly all stand active, and whether they do takes two tables: those that do not are fewer, and found
        // by their indexes.
        let (every, others) = filter.without_active();
        let mut added = Branch::all(&every, ListingOrder::Created);
        let mut taken = Vec::new();
        if let Some(others) = &others {
            added.retain(|branch| !branch.is_of_links());
            let links = Branch::all(filter, ListingOrder::Created).into_iter();
            added.extend(links.filter(Branch::is_of_links));
            taken = Branch::all(others, ListingOrder::Created);
        }
        if added.is_empty() {
            return Ok(0);
        }
        let mut sql = Sql::new("SELECT ").bind(&partner).bind(&now);
        sql = push_sum(sql, "", &added);
        if !taken.is_empty() {
            sql = push_sum(sql, " - ", &taken);
        }
        sql.scalar(&self.engine.read).await
    }
}

/// Appends how many the branches find.
fn push_sum(mut sql: Sql, sign: &str, branches: &[Branch<'_>]) -> Sql {
    if branches.len() > 1 && branches.iter().any(Branch::may_overlap) {
        sql = sql.push(&format!("{sign}(SELECT COUNT(*) FROM ("));
        for (n, branch) in branches.iter().enumerate() {
            let union = if n == 0 { "" } else { " UNION " };
            sql = branch.push_to(sql.push(&format!("{union}SELECT {} FROM ", branch.id())));
        }
        return sql.push(") AS counted)");
    }
    sql = sql.push(&format!("{sign}("));
    for (n, branch) in branches.iter().enumerate() {
        let plus = if n == 0 { "" } else { " + " };
        sql = branch
            .push_to(sql.push(&format!("{plus}(SELECT COUNT(*) FROM ")))
            .push(")");
    }
    sql.push(")")
}

impl ListingFilter {
    /// Where connections that stand active are asked for: the filter without standings, and the one of the
    /// connections that are not asked for. Every living connection stands in one way.
    fn without_active(&self) -> (Self, Option<Self>) {
        match &self.standings {
            Some(asked) if asked.contains(&Standing::Active) => {
                let of_connections = Standing::ALL.into_iter().filter(|s| !s.is_of_link());
                let others = of_connections.filter(|s| !asked.contains(s)).collect();
                let with = |standings| Self {
                    standings,
                    ..self.clone()
                };
                (with(None), Some(with(Some(others))))
            }
            _ => (self.clone(), None),
        }
    }
}
