//! Jobs: one row per durable unit of asynchronous work. The queue carries ids only; attempts, back-off,
//! deadlines and results live here. A worker claims the row before it works, so a duplicate wake-up does
//! nothing.

use std::time::Duration;

use latchkey_domain::{AccountId, AttemptId, JobId, PartnerId, Timestamp, states::JobState};

use crate::{Result, Store, field::record};

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
    }
}

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
    /// Now.
    pub now: Timestamp,
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
    /// Adds a job, in a group commit; `false` if its id is there already.
    pub async fn insert_job(&self, row: JobRow) -> Result<bool> {
        unimplemented!()
    }

    /// One job with all it holds.
    pub async fn get_job(&self, partner: PartnerId, id: JobId) -> Result<Option<JobRow>> {
        unimplemented!()
    }

    /// Jobs, newest first, without `sealed` and `result`, and how many match in all.
    pub async fn list_jobs(
        &self,
        partner: PartnerId,
        filter: &JobFilter,
    ) -> Result<(Vec<JobRow>, u64)> {
        unimplemented!()
    }

    /// Takes a queued job whose `run_at` has come, in a group commit; the row as claimed, or `None` if it
    /// is not there to take.
    pub async fn claim_job(&self, claim: JobClaim) -> Result<Option<JobRow>> {
        unimplemented!()
    }

    /// Prolongs a claim; `false` if it no longer holds.
    pub async fn extend_job_lease(
        &self,
        partner: PartnerId,
        id: JobId,
        claim: AttemptId,
        lease: Duration,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Ends an attempt, in a group commit; `false` if the claim no longer holds.
    pub async fn complete_job(&self, complete: CompleteJob) -> Result<bool> {
        unimplemented!()
    }

    /// Cancels a job that has not started; `false` if there is none such.
    pub async fn cancel_job(&self, partner: PartnerId, id: JobId, now: Timestamp) -> Result<bool> {
        unimplemented!()
    }

    /// Queued jobs of this urgency that are ready and that nobody pushed lately: oldest first per partner,
    /// fair among partners.
    pub async fn undispatched_jobs(
        &self,
        urgency: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<JobRef>> {
        unimplemented!()
    }

    /// Notes that jobs were pushed; the reconciler looks at them again at `again_at` if they are still
    /// queued then.
    pub async fn mark_dispatched(
        &self,
        jobs: &[JobRef],
        now: Timestamp,
        again_at: Timestamp,
    ) -> Result<()> {
        unimplemented!()
    }

    /// The queue lost everything (a new or flushed server): every queued job is to be pushed again.
    pub async fn reset_dispatched(&self) -> Result<u64> {
        unimplemented!()
    }

    /// Puts jobs whose claim ran out back into the queue (their worker died); returns them.
    pub async fn requeue_stuck_jobs(&self, now: Timestamp, limit: u32) -> Result<Vec<JobRef>> {
        unimplemented!()
    }

    /// Fails queued jobs whose deadline passed before they began; returns them.
    pub async fn fail_overdue_jobs(&self, now: Timestamp, limit: u32) -> Result<Vec<JobRef>> {
        unimplemented!()
    }

    /// Deletes up to `limit` final jobs whose retention ended; returns how many.
    pub async fn delete_expired_jobs(&self, now: Timestamp, limit: u32) -> Result<u64> {
        unimplemented!()
    }

    /// How much waits and runs.
    pub async fn count_jobs(&self) -> Result<Vec<JobCount>> {
        unimplemented!()
    }
}
