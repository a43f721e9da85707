//! How long a claim on a job holds: it is prolonged while its worker lives, and what the queue lost is pushed
//! again.

use std::{collections::HashSet, time::Duration};

use latchkey_domain::{AttemptId, JobId, PartnerId, Timestamp};

use crate::{
    Result, Store,
    sql::{Sql, column, with_values},
    writer::{GROUP_LIMIT, lock_jobs},
};

/// A claim on a job that its worker still works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldJob {
    /// For whom.
    pub partner_id: PartnerId,
    /// Which.
    pub job_id: JobId,
    /// The claim.
    pub claim: AttemptId,
}

impl Store {
    /// Prolongs claims from now on, by database time; those that still hold. What another has by now stays
    /// its own.
    pub async fn extend_job_leases(
        &self,
        held: &[HeldJob],
        lease: Duration,
    ) -> Result<HashSet<AttemptId>> {
        let mut extended = HashSet::with_capacity(held.len());
        for part in held.chunks(GROUP_LIMIT) {
            let mut tx = self.engine.begin().await?;
            let marks = self.engine.marks();
            if self.engine.locks_rows() {
                let keys = part.iter().map(|held| (held.partner_id, held.job_id));
                lock_jobs(marks, &mut tx, keys.collect()).await?;
            }
            let until = self.engine.db_now(&mut tx).await? + lease;
            let part: Vec<&HeldJob> = part.iter().collect();
            let columns = ["partner_id", "id", "claim", "lease_until"];
            let rows = with_values(marks, &columns, &part, |sql, held| {
                sql.add(&held.partner_id);
                sql.add(&held.job_id);
                sql.add(&held.claim);
                sql.add(&until);
            })
            .push(
                "UPDATE jobs SET lease_until = v.lease_until FROM v \
                 WHERE jobs.partner_id = v.partner_id AND jobs.id = v.id AND jobs.claim = v.claim \
                 AND jobs.state || '' = 'running' RETURNING jobs.claim",
            )
            .rows(&mut *tx)
            .await?;
            self.engine.commit(tx).await?;
            for row in &rows {
                extended.insert(column(row, 0)?);
            }
        }
        Ok(extended)
    }

    /// Notes that a suspect runs alone from now on, before it does; `false` if its claim no longer holds.
    pub async fn runs_alone(&self, job: HeldJob) -> Result<bool> {
        let noted = Sql::new(
            "UPDATE jobs SET alone = 1 WHERE partner_id = $1 AND id = $2 AND claim = $3 AND state = 'running'",
        )
        .bind(&job.partner_id)
        .bind(&job.job_id)
        .bind(&job.claim)
        .run(&self.engine.write)
        .await?;
        Ok(noted > 0)
    }

    /// Notes the queue's epoch. Where it is another than the last one noted, the queue lost what it held, and
    /// what waits there is to be pushed again: jobs, and grants that are due. How many; `None` if
    /// the epoch is the same.
    pub async fn note_queue_epoch(&self, epoch: &str, now: Timestamp) -> Result<Option<u64>> {
        let mut tx = self.engine.begin().await?;
        let changed = Sql::new(
            "INSERT INTO queue_epochs (name, epoch) VALUES ('queue', $1) \
             ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch \
             WHERE queue_epochs.epoch <> excluded.epoch",
        )
        .text(epoch)
        .run(&mut *tx)
        .await?;
        if changed == 0 {
            self.engine.commit(tx).await?;
            return Ok(None);
        }
        let jobs = Sql::new(RESET_JOBS).run(&mut *tx).await?;
        Sql::new(RESET_GRANTS).run(&mut *tx).await?;
        self.engine.commit(tx).await?;
        Ok(Some(jobs + self.count_due(now).await?))
    }

    /// The queue lost everything (the one in memory of a process that ended): every queued job is to be pushed
    /// again, and every due grant sent. How many jobs.
    pub async fn reset_dispatched(&self) -> Result<u64> {
        Sql::new(RESET_GRANTS).run(&self.engine.write).await?;
        Sql::new(RESET_JOBS).run(&self.engine.write).await
    }
}

/// Passes over due grants begin again.
const RESET_GRANTS: &str = "DELETE FROM due_passes";

const RESET_JOBS: &str = "UPDATE jobs SET dispatched_at = NULL, wake_at = run_at \
    WHERE state = 'queued' AND wake_at IS NOT NULL AND dispatched_at IS NOT NULL";
