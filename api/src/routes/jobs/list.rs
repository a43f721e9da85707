//! `GET /jobs`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::states::JobState;
use latchkey_store::JobFilter;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{JobSummary, Twice};
use crate::{
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::Query,
    reply::{Envelope, Result},
    state::Api,
};

/// Jobs on one page at most.
const MAX_LIMIT: u32 = 100;
/// Jobs on one page unless more or fewer are asked for.
const LIMIT: u32 = 20;

/// Which jobs, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListJobs {
    /// `processing`, `completed`, `failed` or `canceled`.
    status: Option<String>,
    /// At this provider.
    provider: Option<String>,
    /// On this service.
    service: Option<String>,
    /// How many, 1–100; 20 if left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    /// Newest first, without their results.
    jobs: Vec<JobSummary>,
    /// How many match in all.
    total: u64,
    /// For the next page; `null` on the last one.
    next_cursor: Option<String>,
}

/// List jobs
///
/// The fields of `data` are repeated beside it.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(ListJobs),
    responses((status = 200, body = Envelope<JobList>)))]
pub(crate) async fn list_jobs(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Query(query): Query<ListJobs>,
) -> Result<Twice<JobList>> {
    let filter = query.filter()?;
    let (rows, total) = api.ctx.store.list_jobs(partner.id, &filter).await?;
    let is_full = rows.len() == usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let last = rows
        .last()
        .filter(|_| is_full)
        .map(|row| row.id.to_string());
    Ok(Twice(JobList {
        jobs: rows.iter().map(JobSummary::of).collect(),
        total,
        next_cursor: last,
    }))
}

impl ListJobs {
    fn filter(self) -> Result<JobFilter> {
        let limit = self.limit.unwrap_or(LIMIT);
        let mut checks = Checks::default();
        let in_range = (1..=MAX_LIMIT).contains(&limit);
        checks.require(in_range, "limit", format!("must be 1 to {MAX_LIMIT}"));
        let states = self.status.as_deref().map_or(Some(Vec::new()), states_of);
        let said = "must be processing, completed, failed or canceled";
        checks.require(states.is_some(), "status", said);
        checks.finish()?;
        let before = self.cursor.map(|text| text.parse());
        Ok(JobFilter {
            states: states.unwrap_or_default(),
            provider: self.provider,
            service: self.service,
            hidden_too: false,
            before: before
                .transpose()
                .map_err(|_| ApiError::field("cursor", "must be next_cursor of the page before"))?,
            limit,
        })
    }
}

fn states_of(status: &str) -> Option<Vec<JobState>> {
    Some(match status.to_ascii_lowercase().as_str() {
        // One vendor's word for what has not begun.
        "processing" | "pending" => vec![JobState::Queued, JobState::Running],
        "completed" => vec![JobState::Completed],
        "failed" => vec![JobState::Failed],
        "canceled" => vec![JobState::Canceled],
        _ => return None,
    })
}
