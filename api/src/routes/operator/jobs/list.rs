//! `GET /operator/jobs`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::states::JobState;
use latchkey_jobs::{MOST_LOST, kinds};
use latchkey_store::{AllJobsFilter, Spent};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{DEAD, OperatorJob};
use crate::{
    check::Checks,
    extract::{Query, id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Jobs on one page at most.
const MAX_LIMIT: u32 = 500;

/// Which jobs, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListJobs {
    /// `queued`, `running`, `completed`, `failed`, `dead` or `canceled`. Dead ones have failed too.
    state: Option<String>,
    /// `provider_call`, `exchange_code`, `refresh_grants`, `revoke_grant`, …
    kind: Option<String>,
    /// Of this partner (`prt_…`).
    partner: Option<String>,
    /// How many, 1–500.
    #[param(default = 100)]
    limit: u32,
    /// `next_before` of the page before.
    before: Option<String>,
}

impl Default for ListJobs {
    fn default() -> Self {
        Self {
            state: None,
            kind: None,
            partner: None,
            limit: 100,
            before: None,
        }
    }
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorJobList {
    /// Newest first.
    jobs: Vec<OperatorJob>,
    /// Where the next page begins; `null` on the last.
    next_before: Option<String>,
}

/// List jobs of all partners, with what went wrong
#[utoipa::path(get, path = "/operator/jobs", tag = "jobs", params(ListJobs),
    responses((status = 200, body = Envelope<OperatorJobList>)))]
pub(crate) async fn list_jobs(
    State(api): State<Arc<Api>>,
    Query(query): Query<ListJobs>,
) -> Result<Reply<OperatorJobList>> {
    let filter = query.filter()?;
    // One more than asked for tells whether there is a next page.
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let wanted = AllJobsFilter {
        limit: filter.limit + 1,
        ..filter
    };
    let mut rows = api.ctx.store.list_all_jobs(&wanted).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Reply(OperatorJobList {
        next_before: rows.last().filter(|_| more).map(|row| row.id.to_string()),
        jobs: rows.iter().map(OperatorJob::from).collect(),
    }))
}

impl ListJobs {
    fn filter(self) -> Result<AllJobsFilter> {
        let mut checks = Checks::default();
        let in_range = (1..=MAX_LIMIT).contains(&self.limit);
        checks.require(in_range, "limit", format!("must be 1 to {MAX_LIMIT}"));
        let dead = self.state.as_deref() == Some(DEAD);
        let state = self.state.as_deref().filter(|_| !dead);
        let known = state.is_none_or(|text| JobState::parse(text).is_some());
        let said = "must be queued, running, completed, failed, dead or canceled";
        checks.require(known, "state", said);
        let kind = self.kind.as_deref();
        let known = kind.is_none_or(|kind| kinds::info(kind).is_some());
        let names: Vec<_> = kinds::all().iter().map(|info| info.kind).collect();
        checks.require(
            known,
            "kind",
            format!("must be one of {}", names.join(", ")),
        );
        checks.finish()?;
        let spent = || Spent {
            attempts: kinds::all()
                .iter()
                .map(|info| (info.kind.to_owned(), info.max_attempts))
                .collect(),
            lost: MOST_LOST,
        };
        Ok(AllJobsFilter {
            states: state.and_then(JobState::parse).into_iter().collect(),
            spent: dead.then(spent),
            kind: self.kind,
            partner: self
                .partner
                .as_deref()
                .map(|text| id(text, "partner"))
                .transpose()?,
            before: self
                .before
                .as_deref()
                .map(|text| id(text, "job"))
                .transpose()?,
            limit: self.limit,
        })
    }
}
