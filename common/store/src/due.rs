//! What the scheduler asks of grants: which are due, most urgent first and fair among partners, and whose
//! attempts are past their lease.

use std::time::Duration;

use latchkey_domain::{AuthConfigId, Timestamp};

use crate::{
    GrantKey, GrantRow, Result, Store,
    fair::{self, Waiting},
    sql::{Sql, columns},
};

/// A grant that the scheduler sends to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueGrant {
    /// Which grant.
    pub grant: GrantKey,
    /// The provider's slug.
    pub provider: String,
    /// The OAuth client whose budget it uses.
    pub auth_config_id: AuthConfigId,
    /// When it was due.
    pub due_at: Timestamp,
    /// When its access token ends.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// Sweeps attempts that are past their lease and unclosed: shows `in_doubt` and counts the sweep, once
    /// per `sweep` and row. Returns those it counted.
    pub async fn sweep_overdue(
        &self,
        now: Timestamp,
        sweep: Duration,
        limit: u32,
    ) -> Result<Vec<GrantRow>> {
        let overdue = self.engine.pick(
            "SELECT partner_id, id FROM grants WHERE attempt IS NOT NULL AND lease_until <= $1 \
             AND (swept_at IS NULL OR swept_at <= $2) ORDER BY lease_until LIMIT $3",
        );
        Sql::new(format!(
            "{overdue}UPDATE grants SET in_doubt = 1, sweeps = grants.sweeps + 1, swept_at = $1, \
             rev = grants.rev + 1, updated_at = $1 FROM picked \
             WHERE grants.partner_id = picked.partner_id AND grants.id = picked.id RETURNING {}",
            columns::<GrantRow>("grants.")
        ))
        .bind(&now)
        .bind(&now.minus(sweep))
        .bind(&limit)
        .all(&self.engine.write)
        .await
    }

    /// How many grants of all partners have a refresh whose outcome is not known.
    pub async fn count_in_doubt(&self) -> Result<u64> {
        Sql::new("SELECT COUNT(*) FROM grants WHERE in_doubt = 1")
            .scalar(&self.engine.read)
            .await
    }

    /// Takes up to `limit` due grants and marks them until `mark_until`: per partner the most urgent first,
    /// fair among partners.
    pub async fn take_due_grants(
        &self,
        now: Timestamp,
        mark_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueGrant>> {
        let shares = fair::shares(&self.engine, Waiting::Grants, now, limit).await?;
        let mut tx = self.engine.begin().await?;
        let mut due = Vec::new();
        for (partner, share) in shares {
            let ready = self.engine.pick(
                "SELECT partner_id, id FROM grants WHERE partner_id = $2 AND wake_at <= $3 \
                 ORDER BY wake_at, id LIMIT $4",
            );
            let rows: Vec<GrantRow> = Sql::new(format!(
                "{ready}UPDATE grants SET wake_at = $1 FROM picked \
                 WHERE grants.partner_id = picked.partner_id AND grants.id = picked.id \
                 RETURNING {}",
                columns::<GrantRow>("grants.")
            ))
            .bind(&mark_until)
            .bind(&partner)
            .bind(&now)
            .bind(&share)
            .all(&mut *tx)
            .await?;
            due.extend(rows.into_iter().map(|row| DueGrant {
                grant: row.key(),
                due_at: row.due_at.unwrap_or(now),
                provider: row.provider,
                auth_config_id: row.auth_config_id,
                expires_at: row.expires_at,
            }));
        }
        self.engine.commit(tx).await?;
        // What never ends by itself is the least urgent.
        due.sort_by_key(|due| {
            (
                due.expires_at.is_none(),
                due.expires_at,
                due.due_at,
                due.grant,
            )
        });
        Ok(due)
    }

    /// When the next grant is to be looked at.
    pub async fn earliest_due(&self) -> Result<Option<Timestamp>> {
        Sql::new("SELECT MIN(wake_at) FROM grants WHERE wake_at IS NOT NULL")
            .scalar(&self.engine.read)
            .await
    }

    /// How many grants are to be looked at by `by`, for pulling refreshes ahead when there is a backlog.
    pub async fn count_due(&self, by: Timestamp) -> Result<u64> {
        Sql::new("SELECT COUNT(*) FROM grants WHERE wake_at IS NOT NULL AND wake_at <= $1")
            .bind(&by)
            .scalar(&self.engine.read)
            .await
    }

    /// Sets when a grant is looked at next, without touching anything else of it (a decision of `Later`);
    /// `false` if the row changed since it was read.
    pub async fn postpone_grant(
        &self,
        grant: GrantKey,
        rev: i64,
        until: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE grants SET wake_at = $1 \
             WHERE partner_id = $2 AND id = $3 AND rev = $4 AND wake_at IS NOT NULL",
        )
        .bind(&until)
        .bind(&grant.partner_id)
        .bind(&grant.id)
        .bind(&rev)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Ends the cool-down of an auth config's grants, after it was repaired; returns how many.
    pub async fn wake_grants_of(&self, auth_config: AuthConfigId, now: Timestamp) -> Result<u64> {
        Sql::new(
            "UPDATE grants SET retry_at = NULL, due_at = $1, wake_at = $1, rev = rev + 1, \
             updated_at = $1 WHERE auth_config_id = $2 AND state = 'active' AND retry_at > $1",
        )
        .bind(&now)
        .bind(&auth_config)
        .run(&self.engine.write)
        .await
    }
}
