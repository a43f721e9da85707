//! Attempts under way: one row per grant at most, added by its claim and gone with its end. They are few, and change at
//! every refresh; the grants are many, and change once. Whatever adds, changes or ends an attempt holds the grant's
//! row first, so that a claim's condition on the grant and on its attempt are one.

use std::{collections::HashMap, time::Duration};

use latchkey_domain::{AttemptId, GrantId, HolderId, PartnerId, Timestamp, refresh::OpenAttempt};

use crate::{
    GrantKey, GrantRow, Result, Store,
    field::record,
    sql::{Sql, columns, with_values},
    writer::GROUP_LIMIT,
};

record! {
    /// An attempt under way.
    pub struct AttemptRow in "grant_attempts" by "grant_id" {
        /// Whose user's.
        pub partner_id: PartnerId,
        /// The grant it is made for.
        pub grant_id: GrantId,
        /// Which attempt.
        pub attempt: AttemptId,
        /// The one it took the place of, whose holder was silent for too long.
        pub replaced: Option<AttemptId>,
        /// Whose journal may hold its answer.
        pub holder: HolderId,
        /// Until when it is surely at work, by database time.
        pub lease_until: Timestamp,
        /// Sweeps that found it unclosed past its lease.
        pub sweeps: u32,
        /// When it was last swept.
        pub swept_at: Option<Timestamp>,
        /// When its generation was first claimed.
        pub first_claim_at: Timestamp,
    }
}

impl AttemptRow {
    /// What the protocol decides by.
    pub const fn view(&self) -> OpenAttempt {
        OpenAttempt {
            attempt: self.attempt,
            holder: self.holder,
            lease_until: self.lease_until,
            sweeps: self.sweeps,
        }
    }
}

/// A grant with the attempt under way at it.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenGrant {
    /// The narrow row.
    pub row: GrantRow,
    /// The attempt.
    pub open: AttemptRow,
}

impl Store {
    /// Sweeps attempts that are past their lease and unclosed: shows `in_doubt` and counts the sweep, once
    /// per `sweep` and row. Returns those it counted.
    pub async fn sweep_overdue(
        &self,
        now: Timestamp,
        sweep: Duration,
        limit: u32,
    ) -> Result<Vec<OpenGrant>> {
        let mut tx = self.engine.begin().await?;
        let overdue = format!(
            "SELECT g.partner_id, g.id FROM grant_attempts a \
             JOIN grants g ON g.partner_id = a.partner_id AND g.id = a.grant_id \
             WHERE a.lease_until <= $1 AND (a.swept_at IS NULL OR a.swept_at <= $2) \
             ORDER BY a.lease_until LIMIT $3{}",
            self.engine.skip_locked("g")
        );
        let rows = Sql::new(overdue)
            .bind(&now)
            .bind(&now.minus(sweep))
            .bind(&limit)
            .rows(&mut *tx)
            .await?;
        let mut held: Vec<GrantKey> = rows.iter().map(GrantKey::read).collect::<Result<_>>()?;
        held.sort_unstable();
        let held: Vec<&GrantKey> = held.iter().collect();
        let mut swept = Vec::with_capacity(held.len());
        for part in held.chunks(GROUP_LIMIT) {
            // Now that the grants are held: an attempt that ended or was swept meanwhile is no longer overdue.
            let counted: Vec<AttemptRow> = with_values(
                self.engine.marks(),
                &["partner_id", "id", "swept_at", "before"],
                part,
                |sql, grant| {
                    sql.add(&grant.partner_id);
                    sql.add(&grant.id);
                    sql.add(&now);
                    sql.add(&now.minus(sweep));
                },
            )
            .push(&format!(
                "UPDATE grant_attempts SET sweeps = grant_attempts.sweeps + 1, swept_at = v.swept_at FROM v \
                 WHERE grant_attempts.partner_id = v.partner_id AND grant_attempts.grant_id = v.id \
                 AND grant_attempts.lease_until + 0 <= v.swept_at \
                 AND (grant_attempts.swept_at IS NULL OR grant_attempts.swept_at <= v.before) RETURNING {}",
                columns::<AttemptRow>("grant_attempts.")
            ))
            .all(&mut *tx)
            .await?;
            if counted.is_empty() {
                continue;
            }
            let rows: Vec<GrantRow> = with_values(
                self.engine.marks(),
                &["partner_id", "id", "swept_at"],
                &counted.iter().collect::<Vec<_>>(),
                |sql, open| {
                    sql.add(&open.partner_id);
                    sql.add(&open.grant_id);
                    sql.add(&now);
                },
            )
            .push(&format!(
                "UPDATE grants SET in_doubt = 1, rev = grants.rev + 1, updated_at = v.swept_at FROM v \
                 WHERE grants.partner_id = v.partner_id AND grants.id = v.id RETURNING {}",
                columns::<GrantRow>("grants.")
            ))
            .all(&mut *tx)
            .await?;
            let mut rows: HashMap<GrantId, GrantRow> =
                rows.into_iter().map(|row| (row.id, row)).collect();
            swept.extend(counted.into_iter().filter_map(|open| {
                let row = rows.remove(&open.grant_id)?;
                Some(OpenGrant { row, open })
            }));
        }
        self.engine.commit(tx).await?;
        Ok(swept)
    }

    /// The attempts this holder left open, for closing them after its journal was replayed.
    pub async fn open_attempts_of(&self, holder: HolderId) -> Result<Vec<OpenGrant>> {
        let found = Sql::new(format!(
            "SELECT {}, {} FROM grant_attempts a \
             JOIN grants g ON g.partner_id = a.partner_id AND g.id = a.grant_id \
             WHERE a.holder = $1 ORDER BY a.lease_until",
            columns::<GrantRow>("g."),
            columns::<AttemptRow>("a.")
        ))
        .bind(&holder)
        .pairs(&self.engine.read)
        .await?;
        Ok(found.into_iter().map(OpenGrant::from).collect())
    }
}

impl From<(GrantRow, AttemptRow)> for OpenGrant {
    fn from((row, open): (GrantRow, AttemptRow)) -> Self {
        Self { row, open }
    }
}
