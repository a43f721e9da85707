//! One request to a provider on behalf of an account (`architecture.md` §5, Call).

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use latchkey_domain::{AccountId, CallId, ConnectionId, backoff::Backoff};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// What the partner's plan had left when the request went out, so that whoever renders the answer need not ask.
    /// None in what is kept: it would be old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute: Option<MinuteLeft>,
}

/// What a plan has left of its minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinuteLeft {
    /// Calls per minute.
    pub limit: u32,
    /// Calls that could follow at once.
    pub remaining: u32,
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

/// A provider's answer as partners read it in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadableAnswer {
    /// The receipt's id.
    pub call_id: String,
    /// HTTP status.
    pub status: u16,
    /// Headers by name, in lower case; several of one name joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The body: JSON as it is, other texts as a string, anything else as base64.
    pub body: Value,
    /// `json`, `text` or `base64`: what `body` is.
    pub body_encoding: &'static str,
}

impl CallAnswer {
    /// The answer for people and programs that read JSON; `None` where the provider did not answer.
    pub fn readable(self, body: &[u8]) -> Option<ReadableAnswer> {
        let CallResult::Answered {
            status, headers, ..
        } = self.result
        else {
            return None;
        };
        let mut by_name: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in headers {
            let all = by_name.entry(name.to_ascii_lowercase()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&value);
        }
        let content_type = by_name.get("content-type").map_or("", String::as_str);
        let (body, body_encoding) = readable(content_type, body);
        Some(ReadableAnswer {
            call_id: self.call.to_string(),
            status,
            headers: by_name,
            body,
            body_encoding,
        })
    }
}

/// A body in JSON, and how it stands there.
fn readable(content_type: &str, body: &[u8]) -> (Value, &'static str) {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let may_be_json = essence.is_empty() || essence.to_ascii_lowercase().ends_with("json");
    if body.is_empty() {
        return (Value::Null, "json");
    }
    if may_be_json && let Ok(json) = serde_json::from_slice(body) {
        return (json, "json");
    }
    match std::str::from_utf8(body) {
        Ok(text) => (text.into(), "text"),
        Err(_) => (BASE64_STANDARD.encode(body).into(), "base64"),
    }
}
