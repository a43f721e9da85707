//! What the scheduler asks of grants: which are due, most urgent first and fair among partners.
//!
//! Sending a grant to a worker writes nothing to its row: the scheduler goes through each partner's due grants in the
//! order of their times, and keeps how far it came in one row per partner ([`DuePass`]). What became due meanwhile lies
//! ahead of that place. What was sent and not refreshed lies behind it; it comes again with the next pass.

use std::time::Duration;

use latchkey_domain::{
    AuthConfigId, GrantId, PartnerId, Timestamp,
    pacing::{HORIZONS, urgency},
};
use sqlx::any::AnyRow;

use crate::{
    GrantKey, Result, Store, StoreError, fair,
    field::Field,
    sql::{Sql, column, insert_rows, with_values},
    writer::GROUP_LIMIT,
};

const MINUTE: Duration = Duration::from_secs(60);

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
    /// When it was to be looked at.
    pub wake_at: Timestamp,
}

/// How far the scheduler came through a partner's due grants.
struct DuePass {
    partner_id: PartnerId,
    /// When it began with the first of them.
    began_at: Timestamp,
    /// When the last that was taken was to be looked at.
    wake_at: Timestamp,
    /// The last that was taken; empty before the first.
    grant_id: String,
}

impl Store {
    /// How many grants of all partners have a refresh whose outcome is not known.
    pub async fn count_in_doubt(&self) -> Result<u64> {
        Sql::new("SELECT COUNT(*) FROM grants WHERE in_doubt = 1")
            .scalar(&self.engine.read)
            .await
    }

    /// Takes up to `limit` due grants: per partner the most urgent first, fair among partners. Those taken are passed over
    /// by the next call, until a partner's pass over its grants is as old as `again_after`: then what is still due comes
    /// again, but for what is surely under way. Nothing of this blocks a claim.
    pub async fn take_due_grants(
        &self,
        now: Timestamp,
        again_after: Duration,
        limit: u32,
    ) -> Result<Vec<DueGrant>> {
        let passes = self.passes(now, now.minus(again_after), limit).await?;
        let mut due = Vec::new();
        let mut moved = Vec::with_capacity(passes.len());
        for (mut pass, share) in passes {
            let select = format!(
                "SELECT {DUE} FROM grants WHERE partner_id = $1 AND wake_at <= $2 \
                 AND (wake_at, id) > ($3, $4) AND NOT EXISTS (SELECT 1 FROM grant_attempts a \
                 WHERE a.partner_id = grants.partner_id AND a.grant_id = grants.id \
                 AND a.lease_until > $2) ORDER BY wake_at, id LIMIT $5"
            );
            let gathered: String = Sql::new(self.engine.gathered(DUE, &select))
                .bind(&pass.partner_id)
                .bind(&now)
                .bind(&pass.wake_at)
                .text(&pass.grant_id)
                .bind(&share)
                .scalar(&self.engine.read)
                .await?;
            let taken = read_due(pass.partner_id, &gathered)?;
            if let Some(last) = taken.last() {
                (pass.wake_at, pass.grant_id) = (last.wake_at, last.grant.id.to_string());
                moved.push(pass);
            }
            due.extend(taken);
        }
        self.keep_passes(&moved).await?;
        due.sort_by_key(|due| (urgency(due.expires_at, due.due_at), due.grant));
        Ok(due)
    }

    /// The partners with something due beyond where their pass is, who has waited longest first, each with how many it
    /// may have.
    async fn passes(
        &self,
        now: Timestamp,
        old: Timestamp,
        limit: u32,
    ) -> Result<Vec<(DuePass, u32)>> {
        // One look into the index per partner, however much waits.
        let rows = Sql::new(
            "SELECT id, began_at, wake_at, grant_id FROM (\
             SELECT p.id AS id, d.began_at AS began_at, d.wake_at AS wake_at, d.grant_id AS grant_id, \
             (SELECT g.wake_at FROM grants g WHERE g.partner_id = p.id AND g.wake_at <= $1 \
             AND (g.wake_at, g.id) > (COALESCE(d.wake_at, -1), COALESCE(d.grant_id, '')) \
             ORDER BY g.wake_at, g.id LIMIT 1) AS ready \
             FROM partners p LEFT JOIN due_passes d ON d.partner_id = p.id AND d.began_at > $2) AS r \
             WHERE ready IS NOT NULL ORDER BY ready, id LIMIT $3",
        )
        .bind(&now)
        .bind(&old)
        .bind(&limit)
        .rows(&self.engine.read)
        .await?;
        let read = |row: &AnyRow| {
            let (began_at, wake_at): (Option<Timestamp>, Option<Timestamp>) =
                (column(row, 1)?, column(row, 2)?);
            let grant_id: Option<String> = column(row, 3)?;
            Ok(DuePass {
                partner_id: column(row, 0)?,
                began_at: began_at.unwrap_or(now),
                wake_at: wake_at.unwrap_or(Timestamp::from_micros(-1)),
                grant_id: grant_id.unwrap_or_default(),
            })
        };
        let passes: Vec<DuePass> = rows.iter().map(read).collect::<Result<_>>()?;
        let shares = fair::shares(passes.len(), limit);
        Ok(passes.into_iter().zip(shares).collect())
    }

    async fn keep_passes(&self, passes: &[DuePass]) -> Result<()> {
        let mut passes: Vec<&DuePass> = passes.iter().collect();
        passes.sort_by_key(|pass| pass.partner_id);
        for part in passes.chunks(GROUP_LIMIT) {
            insert_rows(
                self.engine.marks(),
                "due_passes",
                &["partner_id", "began_at", "wake_at", "grant_id"],
                part,
                |sql, pass| {
                    sql.add(&pass.partner_id);
                    sql.add(&pass.began_at);
                    sql.add(&pass.wake_at);
                    sql.add(&pass.grant_id);
                },
            )
            .push(
                " ON CONFLICT (partner_id) DO UPDATE SET began_at = excluded.began_at, \
                 wake_at = excluded.wake_at, grant_id = excluded.grant_id",
            )
            .run(&self.engine.write)
            .await?;
        }
        Ok(())
    }

    /// When the next grant is to be looked at.
    pub async fn earliest_due(&self) -> Result<Option<Timestamp>> {
        Sql::new("SELECT MIN(wake_at) FROM grants WHERE wake_at IS NOT NULL")
            .scalar(&self.engine.read)
            .await
    }

    /// How many grants are to be looked at by `by` and are not under way, for pulling refreshes ahead when there is a
    /// backlog.
    pub async fn count_due(&self, by: Timestamp) -> Result<u64> {
        Sql::new(
            "SELECT COUNT(*) FROM grants g WHERE g.wake_at IS NOT NULL AND g.wake_at <= $1 \
             AND NOT EXISTS (SELECT 1 FROM grant_attempts a \
             WHERE a.partner_id = g.partner_id AND a.grant_id = g.id)",
        )
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

    /// Gives grants that were just taken times of their own, as far as nobody else did since.
    pub async fn put_off_grants(&self, later: &[(DueGrant, Timestamp)]) -> Result<()> {
        let mut later: Vec<&(DueGrant, Timestamp)> = later.iter().collect();
        later.sort_by_key(|(due, _)| due.grant);
        for part in later.chunks(GROUP_LIMIT) {
            with_values(
                self.engine.marks(),
                &["partner_id", "id", "at", "was"],
                part,
                |sql, (due, at)| {
                    sql.add(&due.grant.partner_id);
                    sql.add(&due.grant.id);
                    sql.add(at);
                    sql.add(&due.wake_at);
                },
            )
            .push(
                "UPDATE grants SET wake_at = v.at FROM v WHERE grants.partner_id = v.partner_id \
                 AND grants.id = v.id AND grants.wake_at + 0 = v.was",
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
             AND provider = $3 AND state = 'active' AND in_doubt = 0 AND failures = 0 AND due_at > $1 \
             AND NOT EXISTS (SELECT 1 FROM grant_attempts a \
             WHERE a.partner_id = grants.partner_id AND a.grant_id = grants.id) ORDER BY wake_at LIMIT $4",
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

/// The columns of a [`DueGrant`], a few of many: they are read for every grant that is refreshed, and all lie in the
/// index `grants_wake_fair`.
const DUE: &str = "id, provider, auth_config_id, due_at, expires_at, wake_at";

/// The values of [`DUE`].
type DueRow = (String, String, String, Option<i64>, Option<i64>, i64);

/// Reads a partner's due grants, in the order of its pass.
fn read_due(partner_id: PartnerId, gathered: &str) -> Result<Vec<DueGrant>> {
    let wrong = |row: String| StoreError::Inconsistent {
        table: "grants",
        column: "id",
        row,
    };
    let rows: Vec<DueRow> = serde_json::from_str(gathered).map_err(|e| wrong(e.to_string()))?;
    let read = |(id, provider, auth_config, due_at, expires_at, wake_at): DueRow| {
        let wake_at = Timestamp::from_micros(wake_at);
        let key = GrantId::from_sql(id.clone()).zip(AuthConfigId::from_sql(auth_config));
        let (grant, auth_config_id) = key.ok_or_else(|| wrong(id))?;
        Ok(DueGrant {
            grant: GrantKey {
                partner_id,
                id: grant,
            },
            provider,
            auth_config_id,
            due_at: due_at.map_or(wake_at, Timestamp::from_micros),
            expires_at: expires_at.map(Timestamp::from_micros),
            wake_at,
        })
    };
    let mut due: Vec<DueGrant> = rows.into_iter().map(read).collect::<Result<_>>()?;
    // As they were selected; neither engine promises to gather in that order.
    due.sort_by_key(|due| (due.wake_at, due.grant.id));
    Ok(due)
}
