//! The operator's view of jobs, of all partners: also of those that partners do not see.

pub(crate) mod cancel;
pub(crate) mod list;
pub(crate) mod retry;

#[cfg(test)]
mod tests;

use latchkey_domain::{JobId, Timestamp, states::JobState};
use latchkey_jobs::{MOST_LOST, kinds};
use latchkey_store::{JobRow, Setback};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::ApiError, extract::id, openapi::Time, reply::Result, state::Api};

/// A job as its row says it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorJob {
    /// Its id.
    #[schema(example = "job_019aa000000070008000000000000000")]
    id: String,
    /// Whose it is.
    #[schema(example = "prt_019aa000000070008000000000000000")]
    partner_id: String,
    /// What it is.
    #[schema(example = "provider_call")]
    kind: String,
    /// Through which queue it goes.
    #[schema(example = "background")]
    urgency: String,
    /// `queued`, `running`, `completed`, `failed`, `dead` (failed with its attempts used up, or after its
    /// workers were lost too often) or `canceled`.
    #[schema(example = "dead")]
    state: &'static str,
    /// At which provider.
    provider: Option<String>,
    /// For which account.
    account_id: Option<String>,
    /// Times it was begun.
    attempts: u32,
    /// When it was accepted.
    created_at: Time,
    /// When it runs, if it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<Time>,
    /// When it was first begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Time>,
    /// What it met last, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    /// What it met last, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What went wrong, the first attempt first.
    history: Vec<HistoryLine>,
}

/// An attempt that did not end its job well.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryLine {
    /// Which attempt.
    attempt: u32,
    /// When it ended, or was found dead.
    at: Time,
    /// What programs read. `WORKER_LOST`: its process ended, or stood still for too long.
    #[schema(example = "WORKER_LOST")]
    code: String,
    /// What people read.
    error: String,
}

impl From<Setback> for HistoryLine {
    fn from(setback: Setback) -> Self {
        Self {
            attempt: setback.attempt,
            at: Time(Timestamp::from_micros(setback.at)),
            code: setback.code,
            error: setback.error,
        }
    }
}

impl From<&JobRow> for OperatorJob {
    fn from(row: &JobRow) -> Self {
        Self {
            id: row.id.to_string(),
            partner_id: row.partner_id.to_string(),
            kind: row.kind.clone(),
            urgency: row.urgency.clone(),
            state: if is_dead(row) {
                DEAD
            } else {
                row.state.as_str()
            },
            provider: row.provider.clone(),
            account_id: row.account_id.map(|id| id.to_string()),
            attempts: row.attempts,
            created_at: Time(row.created_at),
            run_at: (row.state == JobState::Queued).then_some(Time(row.run_at)),
            started_at: row.started_at.map(Time),
            completed_at: row.completed_at.map(Time),
            error_code: row.error_code.clone(),
            error: row.error.clone(),
            history: row.setbacks().into_iter().map(Into::into).collect(),
        }
    }
}

/// The word for a job that failed because nothing more was tried.
const DEAD: &str = "dead";

fn is_dead(row: &JobRow) -> bool {
    let most = kinds::info(&row.kind).map_or(1, |info| info.max_attempts);
    let spent = row.attempts.saturating_sub(row.forgiven) >= most;
    row.state == JobState::Failed && (spent || row.lost >= MOST_LOST)
}

/// The job that a path names, whoever's it is.
async fn find_job(api: &Api, text: &str) -> Result<JobRow> {
    let job = id::<JobId>(text, "job")?;
    let row = api.ctx.store.find_job(job).await?;
    row.ok_or_else(|| ApiError::not_found("job"))
}
