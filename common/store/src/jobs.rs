//! Jobs: one row per durable unit of asynchronous work. The queue carries ids only; attempts, back-off,
//! deadlines and results live here. A worker claims the row before it works, so a duplicate wake-up does
//! nothing.

use std::time::Duration;

use latchkey_domain::{AccountId, AttemptId, JobId, PartnerId, Timestamp, states::JobState};

use crate::{
    Result, Store,
    field::record,
    sql::{Sql, columns},
    writer::{self, Write},
};

record! {
    /// A job.
    pub struct JobRow in "jobs" by "id" {
        /// Its id.
        pub id: JobId,
        /// For whom it is done.
        pub partner_id: PartnerId,
        /// What it is (`provider_call`, `exchange_code`, …).
        pub kind: String,
        /// Which queue it goes through (`interactive`, `refresh`, `background`).
        pub urgency: String,
        /// Where it stands.
        pub state: JobState,
        /// Whether the partner sees it under `/jobs`.
        pub visible: bool,
        /// The account it acts for.
        pub account_id: Option<AccountId>,
        /// The provider it acts at.
        pub provider: Option<String>,
        /// The service it acts on.
        pub service: Option<String>,
        /// The endpoint or action, for people.
        pub action: Option<String>,
        /// Ids and plain settings as JSON text; never a secret.
        pub payload: String,
        /// The request, sealed.
        pub sealed: Option<Vec<u8>>,
        /// The result, sealed, kept until `expires_at`.
        pub result: Option<Vec<u8>>,
        /// The error code it failed with, or met last.
        pub error_code: Option<String>,
        /// The same for people.
        pub error: Option<String>,
        /// Times it was claimed, without those that were snoozed.
        pub attempts: u32,
        /// Not before.
        pub run_at: Timestamp,
        /// When the reconciler pushes it (again): `run_at` if nobody pushed it yet, later once somebody
        /// did; none unless queued.
        pub wake_at: Option<Timestamp>,
        /// When it was last pushed into the queue.
        pub dispatched_at: Option<Timestamp>,
        /// Who has it, or had it last.
        pub claim: Option<AttemptId>,
        /// Until when the claim holds, by database time.
        pub lease_until: Option<Timestamp>,
        /// If it did not begin by then, it fails.
        pub deadline_at: Option<Timestamp>,
        /// The request to us that made it.
        pub request_id: Option<String>,
        /// When it was accepted.
        pub created_at: Timestamp,
        /// When it was first claimed.
        pub started_at: Option<Timestamp>,
        /// When it ended.
        pub completed_at: Option<Timestamp>,
        /// When the row, or what is left of it, is deleted.
        pub expires_at: Option<Timestamp>,
        /// The job that is held until this one has ended.
        pub then_job: Option<JobId>,
        /// What went wrong, one JSON object a line ([`JobRow::setbacks`]).
        pub history: Option<String>,
        /// How often its worker was lost since the last time the operator revived it.
        pub lost: u32,
        /// Attempts that were forgiven when the operator revived it.
        pub forgiven: u32,
    }
}

record! {
    /// A job as whoever claimed it needs it: less than half of its columns, read for every job that runs.
    pub struct ClaimedJob in "jobs" by "id" {
        /// Its id.
        pub id: JobId,
        /// The claim that the row carries.
        pub claim: Option<AttemptId>,
        /// What the handler reads, as JSON.
        pub payload: String,
        /// The request, sealed.
        pub sealed: Option<Vec<u8>>,
        /// Times it was claimed, this one too, without those that were snoozed.
        pub attempts: u32,
        /// Attempts that were forgiven when the operator revived it.
        pub forgiven: u32,
        /// How often its worker was lost since the last time the operator revived it.
        pub lost: u32,
        /// Whether its partner sees it.
        pub visible: bool,
        /// When it was to run.
        pub run_at: Timestamp,
        /// Past this it is not to begin.
        pub deadline_at: Option<Timestamp>,
        /// The request that made it.
        pub request_id: Option<String>,
        /// When it was made.
        pub created_at: Timestamp,
        /// The job that is held until this one has ended.
        pub then_job: Option<JobId>,
    }
}

/// Take a job for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobClaim {
    /// For whom.
    pub partner_id: PartnerId,
    /// Which.
    pub job_id: JobId,
    /// This attempt's id: the claim is won only if the row carries it afterwards.
    pub claim: AttemptId,
    /// How long it holds; the deadline is taken from database time as the claim is written.
    pub lease: Duration,
}

/// The end of an attempt at a job, by whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteJob {
    /// For whom.
    pub partner_id: PartnerId,
    /// Which.
    pub job_id: JobId,
    /// The claim that must still hold it.
    pub claim: AttemptId,
    /// How it ended.
    pub end: JobEnd,
    /// The job to let go with it, where this is the end of the job itself.
    pub release: Option<ReleaseJob>,
    /// Now.
    pub now: Timestamp,
}

/// Lets a held job go: in the transaction in which the job before it ends, so that neither is without the
/// other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseJob {
    /// Which.
    pub job_id: JobId,
    /// What it is told.
    pub payload: String,
    /// When the reconciler pushes it, unless whoever released it did.
    pub wake_at: Timestamp,
}

impl CompleteJob {
    /// The bytes of its result.
    pub(crate) fn bytes(&self) -> usize {
        match &self.end {
            JobEnd::Completed { result, .. } | JobEnd::Failed { result, .. } => {
                result.as_ref().map_or(0, Vec::len)
            }
            JobEnd::Retry { .. } | JobEnd::Snooze { .. } => 0,
        }
    }
}

/// How an attempt at a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Done.
    Completed {
        /// The result, sealed.
        result: Option<Vec<u8>>,
        /// Until when it is kept.
        expires_at: Option<Timestamp>,
    },
    /// Over without success.
    Failed {
        /// What programs read.
        error_code: String,
        /// What people read.
        error: String,
        /// An answer worth keeping all the same, sealed.
        result: Option<Vec<u8>>,
        /// Until when the row is kept.
        expires_at: Option<Timestamp>,
    },
    /// Another attempt, not before `run_at`; this one counts.
    Retry {
        /// When.
        run_at: Timestamp,
        /// What programs read.
        error_code: String,
        /// What people read.
        error: String,
    },
    /// Again, not before `run_at`; this attempt does not count (throttled, waiting for another's outcome).
    Snooze {
        /// When.
        run_at: Timestamp,
    },
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states; empty for all.
    pub states: Vec<JobState>,
    /// At this provider.
    pub provider: Option<String>,
    /// On this service.
    pub service: Option<String>,
    /// Also those that partners do not see.
    pub hidden_too: bool,
    /// Older than this one (the last id of the page before).
    pub before: Option<JobId>,
    /// How many.
    pub limit: u32,
}

impl Store {
    /// Adds a job, in a group commit; `false` if its id is there already.
    pub async fn insert_job(&self, row: JobRow) -> Result<bool> {
        Ok(self.group(Write::InsertJob(Box::new(row))).await?.won)
    }

    /// Adds a job and the one that is held until it has ended, both or neither.
    pub async fn insert_job_then(&self, row: &JobRow, held: &JobRow) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        for row in [held, row] {
            Sql::insert(row).run(&mut *tx).await?;
        }
        self.engine.commit(tx).await
    }

    /// One job with all it holds.
    pub async fn get_job(&self, partner: PartnerId, id: JobId) -> Result<Option<JobRow>> {
        Sql::select::<JobRow>("WHERE partner_id = $1 AND id = $2")
            .bind(&partner)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// Jobs, newest first, without `sealed` and `result`, and how many match in all.
    pub async fn list_jobs(
        &self,
        partner: PartnerId,
        filter: &JobFilter,
    ) -> Result<(Vec<JobRow>, u64)> {
        let states: Vec<_> = filter.states.iter().collect();
        let matching = |sql: Sql| {
            let sql = sql.bind(&partner);
            let sql = if filter.hidden_too {
                sql
            } else {
                sql.push(" AND visible = 1")
            };
            let sql = if states.is_empty() {
                sql
            } else {
                sql.any_of("state", &states)
            };
            sql.and_maybe("provider =", filter.provider.as_ref())
                .and_maybe("service =", filter.service.as_ref())
        };
        let total: u64 = matching(Sql::new("SELECT COUNT(*) FROM jobs WHERE partner_id = $1"))
            .scalar(&self.engine.read)
            .await?;
        let light = columns::<JobRow>("")
            .replace(" sealed,", " CAST(NULL AS BYTEA) AS sealed,")
            .replace(" result,", " CAST(NULL AS BYTEA) AS result,");
        let rows = matching(Sql::new(format!(
            "SELECT {light} FROM jobs WHERE partner_id = $1"
        )))
        .and_maybe("id <", filter.before.as_ref())
        .number(" ORDER BY id DESC LIMIT", filter.limit)
        .all(&self.engine.read)
        .await?;
        Ok((rows, total))
    }

    /// How many jobs that a partner sees wait for their turn; beyond `most` they are not counted.
    pub async fn count_waiting(&self, partner: PartnerId, most: u32) -> Result<u64> {
        // All urgencies, so that the index of what waits serves: not a look at all that a partner ever had.
        Sql::new(
            "SELECT COUNT(*) FROM (SELECT 1 AS one FROM jobs WHERE partner_id = $1 AND visible = 1 \
             AND wake_at IS NOT NULL AND urgency IN ('interactive', 'refresh', 'background')",
        )
        .bind(&partner)
        .number(" LIMIT", most)
        .push(") AS waiting")
        .scalar(&self.engine.read)
        .await
    }

    /// Takes a queued job whose `run_at` has come, in a group commit; the job as claimed, or `None` if it
    /// is not there to take.
    pub async fn claim_job(&self, claim: JobClaim) -> Result<Option<ClaimedJob>> {
        Ok(self
            .group(Write::ClaimJob(Box::new(claim)))
            .await?
            .job
            .map(|job| *job))
    }

    /// Ends an attempt, in a group commit; `false` if the claim no longer holds.
    pub async fn complete_job(&self, complete: CompleteJob) -> Result<bool> {
        Ok(self
            .group(Write::CompleteJob(Box::new(complete)))
            .await?
            .won)
    }

    /// Cancels a job that has not started, keeps its row until `expires_at`, and lets go what was held for
    /// its end; `false` if there is none such.
    pub async fn cancel_job(
        &self,
        partner: PartnerId,
        id: JobId,
        expires_at: Timestamp,
        release: Option<&ReleaseJob>,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let changed = Sql::new(
            "UPDATE jobs SET state = 'canceled', wake_at = NULL, sealed = NULL, \
             completed_at = $1, expires_at = $2 WHERE partner_id = $3 AND id = $4 \
             AND state = 'queued' AND started_at IS NULL",
        )
        .bind(&now)
        .bind(&expires_at)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        if changed > 0
            && let Some(release) = release
        {
            writer::release_all(self.engine.marks(), &mut tx, &[(partner, release, now)]).await?;
        }
        self.engine.commit(tx).await?;
        Ok(changed > 0)
    }
}
