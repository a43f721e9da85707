//! The history of refreshes: one row for each attempt that ended, written with its end. Shown to people,
//! never decided by; kept for as long as the settings say.

use std::time::Duration;

use latchkey_domain::{AttemptId, GrantId, PartnerId, Timestamp};
use sqlx::AnyConnection;

use crate::{
    CloseAttempt, GrantKey, Landing, Result, Store,
    engine::Marks,
    field::record,
    sql::{Sql, insert_all},
};

/// What a landing is called in the history.
const REFRESHED: &str = "refreshed";

record! {
    /// One attempt at refreshing a grant, after its end.
    pub struct RefreshRow in "refresh_history" by "attempt" {
        /// Whose user's.
        pub partner_id: PartnerId,
        /// Which grant.
        pub grant_id: GrantId,
        /// Which attempt.
        pub attempt: AttemptId,
        /// The generation that was presented.
        pub from_version: i64,
        /// The one that came, if one did.
        pub to_version: Option<i64>,
        /// `refreshed`, `transient`, `in_doubt`, `needs_reauth` and the like: the metric's words.
        pub outcome: String,
        /// What partners may see of a failure.
        pub failure: Option<String>,
        /// From the claim to the end; none if its process died.
        pub took: Option<Duration>,
        /// When it ended.
        pub ended_at: Timestamp,
    }
}

impl RefreshRow {
    /// A landing.
    pub(crate) fn landed(landing: &Landing) -> Self {
        Self {
            partner_id: landing.grant.partner_id,
            grant_id: landing.grant.id,
            attempt: landing.attempt,
            from_version: landing.generation,
            to_version: Some(landing.generation + 1),
            outcome: REFRESHED.to_owned(),
            failure: None,
            took: landing.took,
            ended_at: landing.now,
        }
    }

    /// An end without a successor.
    pub(crate) fn closed(close: &CloseAttempt) -> Self {
        Self {
            partner_id: close.grant.partner_id,
            grant_id: close.grant.id,
            attempt: close.attempt,
            from_version: close.version,
            to_version: None,
            outcome: close.outcome.to_owned(),
            failure: close.last_failure.clone(),
            took: close.took,
            ended_at: close.now,
        }
    }
}

/// Adds rows inside a group's transaction.
pub(crate) async fn add_all(
    marks: Marks,
    tx: &mut AnyConnection,
    rows: impl Iterator<Item = RefreshRow>,
) -> Result<()> {
    let rows: Vec<RefreshRow> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<&RefreshRow> = rows.iter().collect();
    insert_all(marks, &rows, "partner_id, grant_id, attempt, outcome")
        .run(tx)
        .await
        .map(drop)
}

impl Store {
    /// The latest refreshes of a grant, newest first.
    pub async fn refresh_history(&self, grant: GrantKey, limit: u32) -> Result<Vec<RefreshRow>> {
        Sql::select::<RefreshRow>(
            "WHERE partner_id = $1 AND grant_id = $2 ORDER BY attempt DESC, ended_at DESC LIMIT $3",
        )
        .bind(&grant.partner_id)
        .bind(&grant.id)
        .bind(&limit)
        .all(&self.engine.read)
        .await
    }

    /// Deletes up to `limit` rows that ended before `until`; returns how many.
    pub async fn delete_old_refreshes(&self, until: Timestamp, limit: u32) -> Result<u64> {
        Sql::new(
            "DELETE FROM refresh_history WHERE (partner_id, grant_id, attempt, outcome) IN \
             (SELECT partner_id, grant_id, attempt, outcome FROM refresh_history WHERE ended_at <= $1 \
              ORDER BY ended_at LIMIT $2)",
        )
        .bind(&until)
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }
}
