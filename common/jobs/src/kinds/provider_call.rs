//! One request to a provider on behalf of an account (`architecture.md` §5, Call).

use std::time::Duration;

use latchkey_domain::{AccountId, CallId, ConnectionId, backoff::Backoff};
use serde::{Deserialize, Serialize};

use crate::job::{JobKind, Urgency};

/// Who calls what. The request itself travels sealed in the job as a [`CallRequest`] frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderCall {
    /// The receipt's id, made before the job: what makes an unsafe request go out once.
    pub call: CallId,
    /// For whom.
    pub account: AccountId,
    /// With which connection.
    pub connection: ConnectionId,
    /// The provider's slug.
    pub provider: String,
    /// The service of it.
    pub service: String,
    /// The named endpoint (`list_messages`), or `proxy`.
    pub endpoint: String,
    /// Whether a test key asked for it: such calls are never billed.
    #[serde(default)]
    pub test: bool,
}

impl JobKind for ProviderCall {
    const KIND: &'static str = "provider_call";
    const URGENCY: Urgency = Urgency::Interactive;
    // A refresh of 40 s at the worst, and a request of 30 s.
    const TIMEOUT: Duration = Duration::from_secs(75);
    const MAX_ATTEMPTS: u32 = 5;
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
    };
}

/// The head of a call's request; the body follows it in the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// HTTP method, upper case.
    pub method: String,
    /// Path and query below the service's base address, encoded and checked (`Target` of the catalogue).
    /// Not the whole address: where it begins may depend on what came with the tokens.
    pub target: String,
    /// Headers to send: never `Authorization`, `Cookie` or hop-by-hop ones.
    pub headers: Vec<(String, String)>,
    /// Whether the answer is wrapped in the envelope (named endpoints) or passed through (raw proxy).
    pub raw: bool,
}

impl CallRequest {
    /// Whether sending it twice could do something twice (RFC 9110 §9.2).
    pub fn is_unsafe(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

/// The head of a call's answer; the provider's body follows it in the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswer {
    /// The receipt.
    pub call: CallId,
    /// What happened.
    pub result: CallResult,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CallResult {
    /// The provider answered with this status, whatever it says.
    Answered {
        /// HTTP status.
        status: u16,
        /// Headers that may be passed on.
        headers: Vec<(String, String)>,
        /// Set if the answer says "too often" by the catalogue's rules, whatever its status: seconds until
        /// the provider takes calls again.
        #[serde(default)]
        limited_for_s: Option<u64>,
    },
    /// It did not: an error of ours.
    Failed {
        /// A code of `api.md` §1.
        code: String,
        /// What a person reads.
        message: String,
        /// The reason beside `NEEDS_REAUTH`.
        reason: Option<String>,
        /// Seconds after which it makes sense to try again.
        retry_after_s: Option<u64>,
    },
}
