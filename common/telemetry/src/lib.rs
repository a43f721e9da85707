//! What Latchkey tells its operator: logs ([`logs`]), the span that names a request or a job on every line
//! ([`request_span`], [`job_span`]), errors with their whole chain ([`Chain`]) and every metric
//! ([`Metrics`]).
//!
//! # What is logged, and what never is
//!
//! - An error is logged once, with its chain, where it is handled. Code that passes it on does not log.
//! - `error` wants a human, `warn` will if it goes on, `info` is what happened (one line a request or job),
//!   `debug` and `trace` are for whoever looks for a fault.
//! - Never: tokens, codes, verifiers, states, link secrets, API keys, client secrets, keys; bodies and
//!   queries of requests, ours or a provider's; whole URLs that may hold one of these. Ids are fine.
//! - What comes from outside goes into a field (`name = text` or `?text`, which escape line breaks), never
//!   into the message or a `%text`.
//! - No partner, account or connection id is a label of a metric: their number has no bound.

mod chain;
mod labels;
pub mod logs;
pub mod metrics;
mod spans;

pub use chain::Chain;
pub use labels::{HttpStatus, JobEnd, RefreshOutcome, TaskEnd, ThrottleScope};
pub use logs::LogFormat;
pub use metrics::Metrics;
pub use spans::{job_span, request_span};
