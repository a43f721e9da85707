//! How a provider says that it is asked too often.

use latchkey_domain::Timestamp;
use latchkey_oauth::{HttpAnswer, spec::TimeUnit};
use serde::Deserialize;

/// `[rate]` of a catalogue file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateSpec {
    /// The header with the limit of the window.
    pub limit_header: Option<String>,
    /// The header with what is left of it.
    pub remaining_header: Option<String>,
    /// The header with its end.
    pub reset_header: Option<String>,
    /// The unit of that end.
    pub reset_unit: Option<TimeUnit>,
    /// Answers that mean "too often", beside 429.
    pub limited_when: Vec<LimitedWhen>,
    /// Shortest wait in seconds after such an answer that names no time.
    pub min_wait_s: Option<u64>,
}

/// An answer that means "too often". All conditions given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitedWhen {
    /// The status.
    pub http: u16,
    /// `remaining_header` says 0.
    #[serde(default)]
    pub remaining_zero: bool,
    /// JSON pointer to the text that `equals` and `contains` look at.
    pub path: Option<String>,
    /// The text is one of these.
    #[serde(default)]
    pub equals: Vec<String>,
    /// The text holds this.
    pub contains: Option<String>,
}

/// What an answer says about the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateReading {
    /// Requests per window.
    pub limit: Option<u64>,
    /// Requests left.
    pub remaining: Option<u64>,
    /// When the window ends.
    pub reset_at: Option<Timestamp>,
    /// Set if this answer means "too often": when to come back.
    pub limited_until: Option<Timestamp>,
}

impl RateSpec {
    /// Reads an answer of the provider's API.
    pub fn read(&self, answer: &HttpAnswer, now: Timestamp) -> RateReading {
        let _ = (answer, now);
        unimplemented!()
    }
}
