//! What the reconciler asks of jobs: which nobody pushed, whose worker died, whose deadline passed, and how
//! many there are.

use latchkey_domain::{JobId, PartnerId, Timestamp, states::JobState};
use sqlx::any::AnyRow;

use crate::{
    Result, Store,
    dead_jobs::{SUSPECT, note, with_line},
    fair,
    sql::{Sql, column, with_values},
};

/// Jobs marked by one statement.
const MOST_AT_ONCE: usize = 500;

/// A job as the queue names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRef {
    /// For whom.
    pub partner_id: PartnerId,
    /// Which.
    pub id: JobId,
    /// What.
    pub kind: String,
    /// Through which queue.
    pub urgency: String,
}

/// How many jobs wait or run, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCount {
    /// Through which queue.
    pub urgency: String,
    /// What.
    pub kind: String,
    /// `queued` or `running`.
    pub state: JobState,
    /// How many.
    pub count: u64,
    /// The oldest `run_at` among them.
    pub oldest: Timestamp,
}

impl Store {
    /// Queued jobs of this urgency that are ready and that nobody pushed lately: oldest first per partner,
    /// fair among partners.
    pub async fn undispatched_jobs(
        &self,
        urgency: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<JobRef>> {
        // One look into the index per partner, however much waits.
        let partners = Sql::new(
            "SELECT id, ready FROM (SELECT p.id AS id, (SELECT MIN(w.wake_at) FROM jobs w \
             WHERE w.urgency = $1 AND w.partner_id = p.id AND w.wake_at <= $2) AS ready \
             FROM partners p) AS r WHERE ready IS NOT NULL ORDER BY ready, id LIMIT $3",
        )
        .text(urgency)
        .bind(&now)
        .bind(&limit)
        .rows(&self.engine.read)
        .await?;
        let mut queues = Vec::with_capacity(partners.len());
        for (partner, share) in partners.iter().zip(fair::shares(partners.len(), limit)) {
            let partner: PartnerId = column(partner, 0)?;
            let rows = Sql::new(format!(
                "SELECT {REF} FROM jobs WHERE urgency = $1 AND partner_id = $2 \
                 AND wake_at <= $3 ORDER BY wake_at, id LIMIT $4"
            ))
            .text(urgency)
            .bind(&partner)
            .bind(&now)
            .bind(&share)
            .rows(&self.engine.read)
            .await?;
            let jobs: Vec<JobRef> = rows.iter().map(read_ref).collect::<Result<_>>()?;
            queues.push(jobs.into_iter());
        }
        // In turns, so that the front of the list is fair too.
        let mut ready = Vec::new();
        loop {
            let before = ready.len();
            ready.extend(queues.iter_mut().filter_map(Iterator::next));
            if ready.len() == before {
                return Ok(ready);
            }
        }
    }

    /// Whether any queued job is ready that nobody pushed lately.
    pub async fn is_a_job_ready(&self, now: Timestamp) -> Result<bool> {
        let first: Option<Timestamp> =
            Sql::new("SELECT MIN(wake_at) FROM jobs WHERE wake_at IS NOT NULL")
                .scalar(&self.engine.read)
                .await?;
        Ok(first.is_some_and(|first| first <= now))
    }

    /// Leaves a job to the scheduler that was made to be pushed and found no room: it is ready at once, instead of when
    /// its wake-up would count as lost. `false` if it is not there to be left.
    pub async fn leave_job(&self, partner: PartnerId, id: JobId, now: Timestamp) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE jobs SET dispatched_at = NULL, wake_at = $1 WHERE partner_id = $2 AND id = $3 \
             AND state = 'queued' AND dispatched_at IS NOT NULL AND wake_at > $1",
        )
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Notes that jobs were pushed, which were ready at `now`; the reconciler looks at them again at `again_at` if
    /// they are still queued then. One that a worker took and put off in the meantime has a time of its own, and
    /// keeps it.
    pub async fn mark_dispatched(
        &self,
        jobs: &[JobRef],
        now: Timestamp,
        again_at: Timestamp,
    ) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        for part in jobs.chunks(MOST_AT_ONCE) {
            let mut part: Vec<&JobRef> = part.iter().collect();
            part.sort_by_key(|job| (job.partner_id, job.id));
            with_values(
                self.engine.marks(),
                &["partner_id", "id", "pushed_at", "again_at"],
                &part,
                |sql, job| {
                    sql.add(&job.partner_id);
                    sql.add(&job.id);
                    sql.add(&now);
                    sql.add(&again_at);
                },
            )
            .push(
                "UPDATE jobs SET dispatched_at = v.pushed_at, wake_at = v.again_at FROM v \
                 WHERE jobs.partner_id = v.partner_id AND jobs.id = v.id \
                 AND jobs.state || '' = 'queued' AND jobs.wake_at + 0 <= v.pushed_at",
            )
            .run(&mut *tx)
            .await?;
        }
        self.engine.commit(tx).await
    }

    /// Ends the claims of all running jobs, for the one process of the embedded engine before it runs any:
    /// whoever held them is dead, so nobody need wait for their leases.
    pub async fn release_running_jobs(&self, now: Timestamp) -> Result<u64> {
        Sql::new("UPDATE jobs SET lease_until = $1 WHERE state = 'running' AND lease_until > $1")
            .bind(&now)
            .run(&self.engine.write)
            .await
    }

    /// Puts jobs whose claim ran out back into the queue (their worker died); returns them. The loss counts,
    /// but for a suspect that did not run alone: it waited, and another took it along.
    pub async fn requeue_stuck_jobs(&self, now: Timestamp, limit: u32) -> Result<Vec<JobRef>> {
        // The claim goes too: a worker that only seemed dead must not end the job any more.
        let stuck = self.engine.pick(
            "SELECT partner_id, id FROM jobs WHERE state = 'running' AND lease_until <= $1 \
             ORDER BY lease_until LIMIT $2",
        );
        let waited = format!("jobs.lost >= {SUSPECT} AND jobs.alone = 0");
        let rows = Sql::new(format!(
            "{stuck}UPDATE jobs SET state = 'queued', claim = NULL, lease_until = NULL, \
             lost = jobs.lost + CASE WHEN {waited} THEN 0 ELSE 1 END, \
             run_at = $1, wake_at = $1, dispatched_at = NULL, history = {} FROM picked \
             WHERE jobs.partner_id = picked.partner_id AND jobs.id = picked.id RETURNING {REF}",
            with_line("CAST($3 AS TEXT)")
        ))
        .bind(&now)
        .bind(&limit)
        .text(&note(
            now,
            "WORKER_LOST",
            "its worker process ended, or stood still for too long",
        ))
        .rows(&self.engine.write)
        .await?;
        rows.iter().map(read_ref).collect()
    }

    /// Fails queued jobs whose deadline passed before they began; returns them.
    pub async fn fail_overdue_jobs(&self, now: Timestamp, limit: u32) -> Result<Vec<JobRef>> {
        let overdue = self.engine.pick(
            "SELECT partner_id, id FROM jobs WHERE state = 'queued' \
             AND deadline_at IS NOT NULL AND deadline_at <= $1 ORDER BY deadline_at LIMIT $2",
        );
        let rows = Sql::new(format!(
            "{overdue}UPDATE jobs SET state = 'failed', error_code = 'DEADLINE', \
             error = 'it did not begin before its deadline', wake_at = NULL, \
             completed_at = $1 FROM picked \
             WHERE jobs.partner_id = picked.partner_id AND jobs.id = picked.id RETURNING {REF}"
        ))
        .bind(&now)
        .bind(&limit)
        .rows(&self.engine.write)
        .await?;
        rows.iter().map(read_ref).collect()
    }

    /// Deletes up to `limit` final jobs whose retention ended; returns how many.
    pub async fn delete_expired_jobs(&self, now: Timestamp, limit: u32) -> Result<u64> {
        Sql::new(
            "DELETE FROM jobs WHERE (partner_id, id) IN \
             (SELECT partner_id, id FROM jobs WHERE state IN ('completed', 'failed', 'canceled') \
              AND expires_at IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        )
        .bind(&now)
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }

    /// How much waits and runs.
    pub async fn count_jobs(&self) -> Result<Vec<JobCount>> {
        let rows = Sql::new(
            "SELECT urgency, kind, state, COUNT(*), MIN(run_at) FROM jobs \
             WHERE wake_at IS NOT NULL GROUP BY urgency, kind, state \
             UNION ALL SELECT urgency, kind, state, COUNT(*), MIN(run_at) FROM jobs \
             WHERE state = 'running' GROUP BY urgency, kind, state",
        )
        .rows(&self.engine.read)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(JobCount {
                    urgency: column(row, 0)?,
                    kind: column(row, 1)?,
                    state: column(row, 2)?,
                    count: column(row, 3)?,
                    oldest: column(row, 4)?,
                })
            })
            .collect()
    }
}

/// The columns of a [`JobRef`].
const REF: &str = "jobs.partner_id, jobs.id, jobs.kind, jobs.urgency";

fn read_ref(row: &AnyRow) -> Result<JobRef> {
    Ok(JobRef {
        partner_id: column(row, 0)?,
        id: column(row, 1)?,
        kind: column(row, 2)?,
        urgency: column(row, 3)?,
    })
}
