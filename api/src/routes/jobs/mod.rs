//! Jobs as partners see them: what they asked to be done without waiting, and revocations.

pub(crate) mod cancel;
pub(crate) mod get;
pub(crate) mod list;
#[cfg(test)]
mod tests;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use latchkey_domain::states::JobState;
use latchkey_store::JobRow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Partner,
    error::ApiError,
    extract,
    openapi::Time,
    reply::{Reply, Result},
    state::Api,
};

/// The job's state as existing pollers know it: they stop at anything but `processing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Accepted, and not at its end. `started_at` tells whether it runs.
    Processing,
    /// Done; `result` has what came of it.
    Completed,
    /// Over without success; `error` says why.
    Failed,
    /// Stopped before it began.
    Canceled,
}

impl From<JobState> for Status {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued | JobState::Running => Self::Processing,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Canceled => Self::Canceled,
        }
    }
}

/// The partner's job of this id, if its key may see it.
///
/// # Errors
/// The same 404 for a malformed id, a missing job and another partner's.
async fn find(api: &Api, partner: &Partner, id: &str) -> Result<JobRow> {
    let id = extract::id(id, "job")?;
    let row = api.ctx.store.get_job(partner.id, id).await?;
    let row = row
        .filter(|row| row.visible)
        .ok_or_else(|| ApiError::not_found("job"))?;
    if let Some(provider) = &row.provider {
        // What a live key was answered is not for a test key.
        partner.may_reach(provider)?;
    }
    Ok(row)
}

/// Work was accepted; a job does it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The job.
    #[schema(example = "job_019aa000000070008000000000000000")]
    job_id: String,
    /// Always `processing`.
    status: Status,
    /// Where to ask how it goes.
    #[schema(
        example = "https://keys.example.com/api/v1/jobs/job_019aa000000070008000000000000000"
    )]
    poll_url: String,
    /// When it was accepted.
    created_at: Time,
}

impl Accepted {
    /// The job of this row.
    pub(crate) fn of(api: &Api, row: &JobRow) -> Self {
        Self {
            job_id: row.id.to_string(),
            status: Status::Processing,
            poll_url: format!("{}/api/v1/jobs/{}", api.ctx.config.public_origin(), row.id),
            created_at: Time(row.created_at),
        }
    }

    /// 202 with `Location` (RFC 9110 §15.3.3).
    pub(crate) fn into_answer(self) -> Response {
        const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
        let applied = HeaderValue::from_static("respond-async");
        let location = HeaderValue::try_from(format!("/api/v1/jobs/{}", self.job_id));
        let mut response = (StatusCode::ACCEPTED, Reply(self)).into_response();
        response.headers_mut().insert(APPLIED, applied);
        response
            .headers_mut()
            .extend(location.ok().map(|location| (header::LOCATION, location)));
        response
    }
}

/// A job without what came of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobSummary {
    /// Its id.
    #[schema(example = "job_019aa000000070008000000000000000")]
    id: String,
    /// `provider_call`, `revoke_grant` or `refresh_grants`.
    #[schema(example = "provider_call")]
    kind: String,
    /// At which provider.
    #[schema(example = "google")]
    provider: Option<String>,
    /// On which service of it.
    service: Option<String>,
    /// The named endpoint, `proxy`, `revoke` or `refresh`.
    action: Option<String>,
    /// For which account.
    account_id: Option<String>,
    /// Where it stands.
    status: Status,
    /// Times it was begun.
    attempts: u32,
    /// When it was accepted.
    created_at: Time,
    /// When it was first begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Time>,
    /// Why it failed, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Why it failed, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
}

impl JobSummary {
    fn of(row: &JobRow) -> Self {
        let status = Status::from(row.state);
        // While more attempts follow, what the last one met is no failure of the job.
        let failed = status == Status::Failed;
        Self {
            id: row.id.to_string(),
            kind: row.kind.clone(),
            provider: row.provider.clone(),
            service: row.service.clone(),
            action: row.action.clone(),
            account_id: row.account_id.map(|id| id.to_string()),
            status,
            attempts: row.attempts,
            created_at: Time(row.created_at),
            started_at: row.started_at.map(Time),
            completed_at: row.completed_at.map(Time),
            error: row.error.clone().filter(|_| failed),
            error_code: row.error_code.clone().filter(|_| failed),
        }
    }
}

/// The envelope with the fields of `data` beside it once more: one existing client reads them there.
#[derive(Debug)]
pub(crate) struct Twice<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Twice<T> {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Both<'a, T> {
            ok: bool,
            data: &'a T,
            #[serde(flatten)]
            again: &'a T,
        }
        let both = Both {
            ok: true,
            data: &self.0,
            again: &self.0,
        };
        match serde_json::to_vec(&both) {
            Ok(body) => {
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], body).into_response()
            }
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}
