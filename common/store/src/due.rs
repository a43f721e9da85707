//! What the scheduler asks of grants: which are due, most urgent first and fair among partners, and whose
//! attempts are past their lease.

use std::time::Duration;

use latchkey_domain::{
    AuthConfigId, Timestamp,
    pacing::{HORIZONS, urgency},
};
use sqlx::any::AnyRow;

use crate::{
    GrantKey, GrantRow, Result, Store,
    fair::{self, Waiting},
    sql::{Sql, column, columns, with_values},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Grants changed by one statement.
const MOST_AT_ONCE: usize = 500;

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
            let rows = Sql::new(format!(
                "{ready}UPDATE grants SET wake_at = $1 FROM picked \
                 WHERE grants.partner_id = picked.partner_id AND grants.id = picked.id \
                 RETURNING {DUE}"
            ))
            .bind(&mark_until)
            .bind(&partner)
            .bind(&now)
            .bind(&share)
            .rows(&mut *tx)
            .await?;
            for row in &rows {
                due.push(read_due(row, now)?);
            }
        }
        self.engine.commit(tx).await?;
        due.sort_by_key(|due| (urgency(due.expires_at, due.due_at), due.grant));
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

    /// Gives grants that were just taken times of their own, as far as they still carry the mark that taking
    /// them set.
    pub async fn put_off_grants(
        &self,
        later: &[(GrantKey, Timestamp)],
        mark: Timestamp,
    ) -> Result<()> {
        let mut later: Vec<&(GrantKey, Timestamp)> = later.iter().collect();
        later.sort_by_key(|(grant, _)| *grant);
        for part in later.chunks(MOST_AT_ONCE) {
            with_values(
                self.engine.marks(),
                &["partner_id", "id", "at", "mark"],
                part,
                |sql, (grant, at)| {
                    sql.add(&grant.partner_id);
                    sql.add(&grant.id);
                    sql.add(at);
                    sql.add(&mark);
                },
            )
            .push(
                "UPDATE grants SET wake_at = v.at FROM v WHERE grants.partner_id = v.partner_id \
                 AND grants.id = v.id AND grants.wake_at + 0 = v.mark",
            )
            .run(&self.engine.write)
            .await?;
        }
        Ok(())
    }

    /// How many grants of each provider are due within each of [`HORIZONS`], for beginning a backlog ahead.
    pub async fn due_within(&self, now: Timestamp) -> Result<Vec<(String, [u64; HORIZONS.len()])>> {
        let counts: Vec<String> = (1..=HORIZONS.len())
            .map(|n| format!("CAST(SUM(CASE WHEN wake_at <= ${n} THEN 1 ELSE 0 END) AS BIGINT)"))
            .collect();
        let mut sql = Sql::new(format!(
            "SELECT provider, {} FROM grants WHERE wake_at IS NOT NULL AND wake_at <= ${} \
             GROUP BY provider",
            counts.join(", "),
            HORIZONS.len()
        ));
        for minutes in HORIZONS {
            sql = sql.bind(&(now + MINUTE * minutes));
        }
        let rows = sql.rows(&self.engine.read).await?;
        let read = |row: &AnyRow| {
            let mut within = [0; HORIZONS.len()];
            for (at, count) in within.iter_mut().enumerate() {
                *count = column(row, at + 1)?;
            }
            Ok((column(row, 0)?, within))
        };
        rows.iter().map(read).collect()
    }

    /// Makes up to `limit` of a provider's coming refreshes due now, the next ones first; how many. Those
    /// that failed or are in doubt keep their own times.
    pub async fn pull_ahead(
        &self,
        provider: &str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<u64> {
        let coming = self.engine.pick(
            "SELECT partner_id, id FROM grants WHERE wake_at > $1 AND wake_at <= $2 \
             AND provider = $3 AND state = 'active' AND attempt IS NULL AND in_doubt = 0 \
             AND failures = 0 AND due_at > $1 ORDER BY wake_at LIMIT $4",
        );
        Sql::new(format!(
            "{coming}UPDATE grants SET wake_at = $1, due_at = $1 FROM picked \
             WHERE grants.partner_id = picked.partner_id AND grants.id = picked.id"
        ))
        .bind(&now)
        .bind(&until)
        .text(provider)
        .bind(&limit)
        .run(&self.engine.write)
        .await
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

/// The columns of a [`DueGrant`], a few of many: they are read for every grant that is refreshed.
const DUE: &str = "grants.partner_id, grants.id, grants.provider, grants.auth_config_id, grants.due_at, grants.expires_at";

fn read_due(row: &AnyRow, now: Timestamp) -> Result<DueGrant> {
    let due_at: Option<Timestamp> = column(row, 4)?;
    Ok(DueGrant {
        grant: GrantKey {
            partner_id: column(row, 0)?,
            id: column(row, 1)?,
        },
        provider: column(row, 2)?,
        auth_config_id: column(row, 3)?,
        due_at: due_at.unwrap_or(now),
        expires_at: column(row, 5)?,
    })
}
