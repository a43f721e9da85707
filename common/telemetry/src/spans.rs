//! The two spans that put `request_id` or `job_id` on every line logged inside them.

use latchkey_domain::{JobId, RequestId};
use tracing::{Span, error_span};

/// The target of both spans. [`crate::logs`] keeps it on whatever the filter says, so that the lines that
/// do pass the filter carry their ids. Nothing is logged under it.
pub(crate) const TARGET: &str = "latchkey_ids";

/// The span of one HTTP request to us.
pub fn request_span(request_id: RequestId) -> Span {
    error_span!(target: TARGET, "request", %request_id)
}

/// The span of one attempt at a job.
pub fn job_span(job_id: JobId, kind: &str, attempt: u32) -> Span {
    error_span!(target: TARGET, "job", %job_id, kind, attempt)
}
