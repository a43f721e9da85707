//! The group statements on jobs: insert, claim, end an attempt.

use std::collections::{HashMap, HashSet};

use latchkey_domain::{AttemptId, JobId, PartnerId, Timestamp, states::JobState};
use sqlx::AnyConnection;

use super::Answer;
use crate::{
    ClaimedJob, CompleteJob, JobClaim, JobEnd, JobRow, ReleaseJob, Result,
    dead_jobs::{note, with_line},
    engine::{Engine, Marks},
    field::Record,
    sql::{Sql, column, columns, insert_all as insert_records, with_values},
};

/// Locks jobs in the order of their ids.
pub(crate) async fn lock(
    marks: Marks,
    tx: &mut AnyConnection,
    mut keys: Vec<(PartnerId, JobId)>,
) -> Result<()> {
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<_> = keys.iter().collect();
    with_values(marks, &["partner_id", "id"], &keys, |sql, (partner, id)| {
        sql.add(partner);
        sql.add(id);
    })
    .push(
        "SELECT id FROM jobs WHERE (partner_id, id) IN (SELECT partner_id, id FROM v) \
         ORDER BY partner_id, id FOR UPDATE",
    )
    .rows(tx)
    .await
    .map(drop)
}

/// Adds jobs that are not there.
pub(super) async fn insert_all(
    marks: Marks,
    tx: &mut AnyConnection,
    rows: &[&JobRow],
) -> Result<Vec<Answer>> {
    let added = insert_records(marks, rows, "partner_id, id")
        .push(" RETURNING id")
        .rows(tx)
        .await?;
    let added: HashSet<JobId> = added
        .iter()
        .map(|row| column(row, 0))
        .collect::<Result<_>>()?;
    Ok(rows
        .iter()
        .map(|row| Answer::won(added.contains(&row.id)))
        .collect())
}

/// Takes queued jobs whose time has come. Whoever finds its own claim in the row has it.
pub(super) async fn claim_all(
    marks: Marks,
    tx: &mut AnyConnection,
    claims: &[&JobClaim],
    now: Timestamp,
) -> Result<Vec<Answer>> {
    const COLUMNS: [&str; 5] = ["partner_id", "id", "claim", "lease", "claimed_at"];
    // Leases count by database time, as it is when they are written.
    let now_there = Engine::db_now_in(marks, "v.claimed_at");
    let rows = with_values(marks, &COLUMNS, claims, |sql, claim| {
        sql.add(&claim.partner_id);
        sql.add(&claim.job_id);
        sql.add(&claim.claim);
        sql.add(&claim.lease);
        sql.add(&now);
    })
    .push(&format!(
        "UPDATE jobs SET state = 'running', claim = v.claim, \
         lease_until = {now_there} + v.lease, \
         wake_at = NULL, alone = 0, attempts = jobs.attempts + 1, \
         started_at = COALESCE(jobs.started_at, {now_there}) FROM v \
         WHERE jobs.partner_id = v.partner_id AND jobs.id = v.id AND jobs.state || '' = 'queued' \
         AND jobs.run_at + 0 <= {now_there} RETURNING {}",
        columns::<ClaimedJob>("jobs.")
    ))
    .rows(tx)
    .await?;
    let mut taken: HashMap<AttemptId, ClaimedJob> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let job = ClaimedJob::read(row, 0)?;
        if let Some(claim) = job.claim {
            taken.insert(claim, job);
        }
    }
    Ok(claims
        .iter()
        .map(|claim| claimed(taken.remove(&claim.claim)))
        .collect())
}

fn claimed(job: Option<ClaimedJob>) -> Answer {
    Answer {
        won: job.is_some(),
        job: job.map(Box::new),
        revoking: false,
    }
}

/// Ends attempts that still hold their jobs.
pub(crate) async fn complete_all(
    marks: Marks,
    tx: &mut AnyConnection,
    ends: &[&CompleteJob],
) -> Result<Vec<Answer>> {
    const COLUMNS: [&str; 12] = [
        "partner_id",
        "id",
        "claim",
        "state",
        "result",
        "error_code",
        "error",
        "run_at",
        "uncounted",
        "expires_at",
        "ended_at",
        "note",
    ];
    let rows = with_values(marks, &COLUMNS, ends, |sql, end| {
        let parts = parts(&end.end);
        sql.add(&end.partner_id);
        sql.add(&end.job_id);
        sql.add(&end.claim);
        sql.add(&parts.state);
        sql.add(&parts.result.cloned());
        sql.add(&parts.error_code.cloned());
        sql.add(&parts.error.cloned());
        sql.add(&parts.run_at);
        sql.add(&parts.uncounted);
        sql.add(&parts.expires_at);
        sql.add(&end.now);
        sql.add(&parts.note(end.now));
    })
    .push(&format!(
        "UPDATE jobs SET state = v.state, lease_until = NULL, \
         result = COALESCE(v.result, jobs.result), error_code = v.error_code, error = v.error, \
         run_at = COALESCE(v.run_at, jobs.run_at), wake_at = v.run_at, \
         dispatched_at = CASE WHEN v.run_at IS NULL THEN jobs.dispatched_at END, \
         attempts = jobs.attempts - v.uncounted, \
         started_at = CASE WHEN v.uncounted = 1 AND jobs.attempts = 1 THEN NULL \
                      ELSE jobs.started_at END, \
         sealed = CASE WHEN v.state = 'completed' THEN NULL ELSE jobs.sealed END, history = {}, \
         completed_at = CASE WHEN v.run_at IS NULL THEN v.ended_at END, \
         expires_at = COALESCE(v.expires_at, jobs.expires_at) FROM v \
         WHERE jobs.partner_id = v.partner_id AND jobs.id = v.id AND jobs.claim = v.claim \
         AND jobs.state || '' = 'running' RETURNING jobs.claim",
        with_line("v.note")
    ))
    .rows(&mut *tx)
    .await?;
    let ended: HashSet<AttemptId> = rows
        .iter()
        .map(|row| column(row, 0))
        .collect::<Result<_>>()?;
    let released: Vec<_> = ends
        .iter()
        .filter(|end| ended.contains(&end.claim))
        .filter_map(|end| Some((end.partner_id, end.release.as_ref()?, end.now)))
        .collect();
    release_all(marks, tx, &released).await?;
    Ok(ends
        .iter()
        .map(|end| Answer::won(ended.contains(&end.claim)))
        .collect())
}

/// Lets held jobs go.
pub(crate) async fn release_all(
    marks: Marks,
    tx: &mut AnyConnection,
    released: &[(PartnerId, &ReleaseJob, Timestamp)],
) -> Result<()> {
    const COLUMNS: [&str; 5] = ["partner_id", "id", "payload", "run_at", "wake_at"];
    if released.is_empty() {
        return Ok(());
    }
    let released: Vec<_> = released.iter().collect();
    with_values(marks, &COLUMNS, &released, |sql, (partner, job, now)| {
        sql.add(partner);
        sql.add(&job.job_id);
        sql.add(&job.payload);
        sql.add(now);
        sql.add(&job.wake_at);
    })
    .push(
        "UPDATE jobs SET payload = v.payload, run_at = v.run_at, wake_at = v.wake_at FROM v \
         WHERE jobs.partner_id = v.partner_id AND jobs.id = v.id \
         AND jobs.state || '' = 'queued' AND jobs.wake_at IS NULL",
    )
    .run(tx)
    .await
    .map(drop)
}

/// An end as the columns it sets.
struct Parts<'a> {
    state: JobState,
    result: Option<&'a Vec<u8>>,
    error_code: Option<&'a String>,
    error: Option<&'a String>,
    run_at: Option<Timestamp>,
    uncounted: bool,
    expires_at: Option<Timestamp>,
}

impl Parts<'_> {
    /// What the history notes of this end: nothing of one that is as it should be.
    fn note(&self, at: Timestamp) -> Option<String> {
        let (code, error) = self.error_code.zip(self.error)?;
        Some(note(at, code, error))
    }
}

fn parts(end: &JobEnd) -> Parts<'_> {
    let none = Parts {
        state: JobState::Queued,
        result: None,
        error_code: None,
        error: None,
        run_at: None,
        uncounted: false,
        expires_at: None,
    };
    match end {
        JobEnd::Completed { result, expires_at } => Parts {
            state: JobState::Completed,
            result: result.as_ref(),
            expires_at: *expires_at,
            ..none
        },
        JobEnd::Failed {
            error_code,
            error,
            result,
            expires_at,
        } => Parts {
            state: JobState::Failed,
            result: result.as_ref(),
            error_code: Some(error_code),
            error: Some(error),
            expires_at: *expires_at,
            ..none
        },
        JobEnd::Retry {
            run_at,
            error_code,
            error,
        } => Parts {
            error_code: Some(error_code),
            error: Some(error),
            run_at: Some(*run_at),
            ..none
        },
        JobEnd::Snooze { run_at } => Parts {
            run_at: Some(*run_at),
            uncounted: true,
            ..none
        },
    }
}

async fn read(tx: &mut AnyConnection, partner: PartnerId, id: JobId) -> Result<Option<JobRow>> {
    Sql::select::<JobRow>("WHERE partner_id = $1 AND id = $2")
        .bind(&partner)
        .bind(&id)
        .one(tx)
        .await
}

/// Whether the job that is there is this one.
pub(super) async fn was_inserted(tx: &mut AnyConnection, row: &JobRow) -> Result<Answer> {
    let there = read(tx, row.partner_id, row.id).await?;
    Ok(Answer::won(there.is_some_and(|there| {
        there.created_at == row.created_at
            && there.request_id == row.request_id
            && there.payload == row.payload
    })))
}

/// Whether the row carries this claim.
pub(super) async fn was_claimed(tx: &mut AnyConnection, claim: &JobClaim) -> Result<Answer> {
    let job = Sql::select::<ClaimedJob>("WHERE partner_id = $1 AND id = $2 AND state = $3")
        .bind(&claim.partner_id)
        .bind(&claim.job_id)
        .bind(&JobState::Running)
        .one::<ClaimedJob, _>(tx)
        .await?;
    let mine = |job: &ClaimedJob| job.claim == Some(claim.claim);
    Ok(claimed(job.filter(mine)))
}

/// Whether this claim ended: it is the last the row had, and holds it no longer.
pub(super) async fn was_completed(tx: &mut AnyConnection, end: &CompleteJob) -> Result<Answer> {
    let job = read(tx, end.partner_id, end.job_id).await?;
    let ended = |job: &JobRow| job.claim == Some(end.claim) && job.state != JobState::Running;
    Ok(Answer::won(job.as_ref().is_some_and(ended)))
}
