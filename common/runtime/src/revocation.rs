//! The job that revokes a grant at its provider when nobody asked for it: what landed on a deleted connection,
//! and what an earlier job did not reach.

use std::time::Duration;

use latchkey_domain::{JobId, Timestamp, states::JobState};
use latchkey_jobs::{Job, JobKind, PayloadError, kinds::RevokeGrant};
use latchkey_store::{GrantRow, JobRow};

/// How long a finished revocation of ours is shown in the store: a month, as a partner's own.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The job and its row, ready to be written and pushed.
///
/// # Errors
/// [`PayloadError`] when its ids do not serialize, which they always do.
pub fn revocation(
    id: JobId,
    grant: &GrantRow,
    now: Timestamp,
) -> Result<(Job, JobRow), PayloadError> {
    let kind = RevokeGrant {
        grant: grant.id,
        connection: grant.connection_id,
    };
    let mut job = Job::new(id, grant.partner_id, &kind, now)?;
    job.durable = true;
    let row = JobRow {
        id,
        partner_id: grant.partner_id,
        kind: RevokeGrant::KIND.to_owned(),
        urgency: RevokeGrant::URGENCY.as_str().to_owned(),
        state: JobState::Queued,
        visible: false,
        account_id: Some(grant.account_id),
        provider: Some(grant.provider.clone()),
        service: None,
        action: None,
        payload: job.payload.clone(),
        sealed: None,
        result: None,
        error_code: None,
        error: None,
        attempts: 0,
        run_at: now,
        wake_at: Some(now),
        dispatched_at: None,
        claim: None,
        lease_until: None,
        deadline_at: None,
        request_id: None,
        created_at: now,
        started_at: None,
        completed_at: None,
        expires_at: Some(now + KEPT),
        then_job: None,
        history: None,
        lost: 0,
        forgiven: 0,
    };
    Ok((job, row))
}
