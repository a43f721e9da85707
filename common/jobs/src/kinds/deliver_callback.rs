//! Tells a partner how an asynchronous call ended, by a Standard Webhook to the call's `callback_url`.
//!
//! The row is written with the call's own and held; the transaction that ends the call fills it in and lets it
//! go. So a call that ended has its callback, and one that was never accepted has none.

use std::time::Duration;

use latchkey_domain::{AccountId, CallId, JobId, Timestamp, backoff::Backoff};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ProviderCall;
use crate::job::{JobKind, Urgency};

/// The waits before each attempt after the first, the schedule of the Standard Webhooks specification.
pub const SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The call that ended. Ids and words only: what the provider answered is read from its row, and the address
/// is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverCallback {
    /// The call's job.
    pub job: JobId,
    /// Its receipt.
    pub call: CallId,
    /// For whom it was made.
    pub account: AccountId,
    /// At which provider.
    pub provider: String,
    /// On which service.
    pub service: String,
    /// The named endpoint, or `proxy`.
    pub action: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How it ended; absent while it goes on.
    pub ended: Option<CallEnd>,
}

/// How a call's job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// `completed`, `failed` or `canceled`.
    pub status: String,
    /// When.
    pub at: Timestamp,
    /// What programs read of a failure.
    pub error_code: Option<String>,
    /// The same for people.
    pub error: Option<String>,
}

impl JobKind for DeliverCallback {
    const KIND: &'static str = "deliver_callback";
    const URGENCY: Urgency = Urgency::Background;
    // One request of 20 s, and its outcome.
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_ATTEMPTS: u32 = 10;
    // The handler names its waits; this serves where it cannot, such as a store that fails.
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(5),
        cap: Duration::from_secs(300),
    };
}

impl DeliverCallback {
    /// The callback of this call's job.
    pub fn of(job: JobId, call: &ProviderCall, created_at: Timestamp) -> Self {
        Self {
            job,
            call: call.call,
            account: call.account,
            provider: call.provider.clone(),
            service: call.service.clone(),
            action: call.endpoint.clone(),
            created_at,
            ended: None,
        }
    }

    /// The same, once the call has ended.
    #[must_use]
    pub fn ended(self, end: CallEnd) -> Self {
        Self {
            ended: Some(end),
            ..self
        }
    }

    /// The message: `type`, `timestamp` and `data`, as the specification recommends.
    pub fn message(&self, origin: &str, result: Option<Value>) -> Value {
        let end = self.ended.as_ref();
        let mut data = Map::new();
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                data.insert(name.to_owned(), value.into());
            }
        };
        let status = end.map_or("processing", |end| end.status.as_str());
        say("job_id", Some(self.job.to_string()));
        say("call_id", Some(self.call.to_string()));
        say("status", Some(status.to_owned()));
        say("provider", Some(self.provider.clone()));
        say("service", Some(self.service.clone()));
        say("action", Some(self.action.clone()));
        say("account_id", Some(self.account.to_string()));
        say("created_at", Some(self.created_at.to_string()));
        say("completed_at", end.map(|end| end.at.to_string()));
        say("error", end.and_then(|end| end.error.clone()));
        say("error_code", end.and_then(|end| end.error_code.clone()));
        say(
            "poll_url",
            Some(format!("{origin}/api/v1/jobs/{}", self.job)),
        );
        if let Some(result) = result {
            data.insert("result".to_owned(), result);
        }
        json!({
            "type": format!("call.{status}"),
            "timestamp": end.map_or(self.created_at, |end| end.at).to_string(),
            "data": data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_after_the_first_has_its_wait() {
        assert_eq!(DeliverCallback::MAX_ATTEMPTS as usize, 1 + SCHEDULE.len());
    }
}
