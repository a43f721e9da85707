//! What the operator sees of jobs, over all partners: where they stand, what went wrong with them attempt by
//! attempt, and a second life for those that failed.

use latchkey_domain::{JobId, PartnerId, Timestamp, states::JobState};
use serde::{Deserialize, Serialize};

use crate::{
    JobRow, Result, Store,
    sql::{Sql, columns},
};

/// Characters of a job's history (some 60 entries). Later entries are left out: the row has the last error.
pub(crate) const MAX_HISTORY: usize = 16_000;
/// Characters of an error in it.
const MAX_ERROR: usize = 300;

/// A job whose worker was lost this often may be what ends them. One loss says nothing yet.
pub const SUSPECT: u32 = 2;

/// An attempt that did not end its job well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// Which attempt.
    pub attempt: u32,
    /// When it ended, or was found dead: microseconds since the epoch.
    pub at: i64,
    /// What programs read. `WORKER_LOST`: its process died, or lost its claim.
    pub code: String,
    /// What people read.
    pub error: String,
}

impl JobRow {
    /// What went wrong, the first attempt first.
    pub fn setbacks(&self) -> Vec<Setback> {
        let lines = self.history.as_deref().unwrap_or_default().lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// The end of a history line; the statement puts the attempt's number before it.
pub(crate) fn note(at: Timestamp, code: &str, error: &str) -> String {
    let error: String = error.chars().take(MAX_ERROR).collect();
    let rest = serde_json::json!({ "at": at.as_micros(), "code": code, "error": error });
    // An object begins with a brace, in whose place the attempt stands.
    format!(",{}\n", rest.to_string().get(1..).unwrap_or_default())
}

/// The history with one more line, in SQL: `line` is an expression, such as [`note`]'s text.
pub(crate) fn with_line(line: &str) -> String {
    format!(
        "CASE WHEN {line} IS NULL OR LENGTH(COALESCE(jobs.history, '')) > {MAX_HISTORY} THEN jobs.history \
         ELSE COALESCE(jobs.history, '') || '{{\"attempt\":' || CAST(jobs.attempts AS TEXT) || {line} END"
    )
}

/// When a job is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Kinds with the attempts that each has; others have one.
    pub attempts: Vec<(String, u32)>,
    /// Workers lost.
    pub lost: u32,
}

/// Which jobs the operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllJobsFilter {
    /// In one of these states; empty for all.
    pub states: Vec<JobState>,
    /// Only those that failed because this was spent.
    pub spent: Option<Spent>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this partner.
    pub partner: Option<PartnerId>,
    /// Older than this one (the last id of the page before).
    pub before: Option<JobId>,
    /// How many.
    pub limit: u32,
}

impl Store {
    /// Jobs of all partners, newest first, without `sealed` and `result`.
    pub async fn list_all_jobs(&self, filter: &AllJobsFilter) -> Result<Vec<JobRow>> {
        let light = columns::<JobRow>("")
            .replace(" sealed,", " CAST(NULL AS BYTEA) AS sealed,")
            .replace(" result,", " CAST(NULL AS BYTEA) AS result,");
        let mut sql = Sql::new(format!("SELECT {light} FROM jobs WHERE 1 = 1"))
            .and_maybe("partner_id =", filter.partner.as_ref())
            .and_maybe("kind =", filter.kind.as_ref());
        let states: Vec<_> = filter.states.iter().collect();
        if !states.is_empty() {
            sql = sql.any_of("state", &states);
        }
        if let Some(spent) = &filter.spent {
            sql = sql
                .and("state = 'failed' AND (lost >=", &spent.lost)
                .push(" OR attempts - forgiven >= CASE kind");
            for (kind, attempts) in &spent.attempts {
                sql.add(kind);
                sql.add(attempts);
                let at = sql.bound();
                sql = sql.push(&format!(" WHEN ${} THEN CAST(${at} AS BIGINT)", at - 1));
            }
            sql = sql.push(" ELSE 1 END)");
        }
        sql.and_maybe("id <", filter.before.as_ref())
            .number(" ORDER BY id DESC LIMIT", filter.limit)
            .all(&self.engine.read)
            .await
    }

    /// The job of this id, whoever's it is.
    pub async fn find_job(&self, id: JobId) -> Result<Option<JobRow>> {
        // One look-up by primary key for each partner, which are few beside jobs.
        Sql::new(format!(
            "SELECT {} FROM partners JOIN jobs ON jobs.partner_id = partners.id AND jobs.id = $1",
            columns::<JobRow>("jobs.")
        ))
        .bind(&id)
        .one(&self.engine.read)
        .await
    }

    /// Gives a failed job its attempts once more, from `now`; `false` if it is not
    /// there or has not failed. What went wrong before stays in its history.
    pub async fn retry_job(&self, job: &JobRow, now: Timestamp) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE jobs SET state = 'queued', forgiven = attempts, lost = 0, run_at = $1, wake_at = $1, \
             dispatched_at = NULL, claim = NULL, lease_until = NULL, deadline_at = NULL, result = NULL, \
             completed_at = NULL WHERE partner_id = $2 AND id = $3 AND state = 'failed'",
        )
        .bind(&now)
        .bind(&job.partner_id)
        .bind(&job.id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_whatever_the_error_says() {
        let error = "it said \"no\"\nand {more}";
        let line = format!(
            "{{\"attempt\":3{}",
            note(Timestamp::from_secs(7), "X", error)
        );
        assert_eq!(line.lines().count(), 1);
        let setback: Setback = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (setback.attempt, setback.at, setback.error.as_str()),
            (3, 7_000_000, error)
        );
        assert!(note(Timestamp::from_secs(7), "X", &"é".repeat(9000)).len() < 1000);
    }
}
