//! What a token endpoint answers, and how its errors are classed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::ScopeSeparator;
use crate::pattern::Pattern;

/// How answers of the token endpoint are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    /// JSON pointer to a member that is `true` in every success (Slack's `ok`); an answer without it is an
    /// error whatever its status.
    pub ok_path: Option<String>,
    /// JSON pointers to an error's code, looked at before the usual places.
    pub error_path: Vec<String>,
    /// When the answer was written, where it says so: lifetimes count from then.
    pub issued_at: Option<TimeField>,
    /// What stands between granted scopes; unless said, a space or a comma.
    pub scope_separator: Option<ScopeSeparator>,
    /// The tokens of an answer to a code, where one consent gives several (Slack's bot and user); the first
    /// that is there is the grant's own. Unless said: one token in the members of RFC 6749 §5.1.
    pub tokens: Vec<TokenClass>,
    /// What the answer holds besides tokens, as the provider's documentation shows it: what the sandbox
    /// answers with.
    pub example: Option<JsonText>,
    /// Where the end of the access token stands; `/expires_in`, in seconds, by default.
    pub expires: Option<TimeField>,
    /// Where the end of the refresh token stands; `/refresh_token_expires_in`, in seconds, by default.
    pub refresh_expires: Option<TimeField>,
    /// Members kept with the tokens and offered as `{token.<name>}`.
    pub keep: BTreeMap<String, Keep>,
}

/// A time in an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeField {
    /// JSON pointer (RFC 6901) to it.
    pub path: String,
    /// Its unit.
    pub unit: TimeUnit,
    /// A life in seconds that is taken whatever the answer says, for a member that is known to be wrong.
    pub override_s: Option<u64>,
}

/// The unit of a time in an answer or a header. Numbers may come as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds from now, decimals allowed.
    DeltaS,
    /// Milliseconds from now.
    DeltaMs,
    /// Seconds since the epoch, decimals allowed.
    EpochS,
    /// Milliseconds since the epoch.
    EpochMs,
    /// An RFC 3339 time, which may stand among other words.
    Iso8601,
}

/// A member of a token answer that is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// JSON pointer (RFC 6901) to it.
    pub path: String,
    /// If not empty: the value must be a host, or an address whose host is one of these or ends in
    /// `.` and one of these, and the host alone is kept; else nothing is. For what goes into a base address.
    #[serde(default)]
    pub host_suffix_allow: Vec<String>,
}

impl Keep {
    /// Longest value kept, in bytes.
    pub const MAX_BYTES: usize = 2048;
}

/// One rule of error classing. All conditions given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// What the error means.
    pub class: ErrorClass,
    /// The status, if it matters.
    pub http: Option<u16>,
    /// JSON pointer to the text that `equals`, `contains` and `regex` look at.
    #[serde(default = "error_path")]
    pub path: String,
    /// The text is one of these.
    #[serde(default)]
    pub equals: Vec<String>,
    /// The text holds this.
    pub contains: Option<String>,
    /// This pattern is found in the text.
    pub regex: Option<Pattern>,
    /// A text that `regex` finds, as the provider writes it: what the sandbox says.
    pub example: Option<String>,
}

fn error_path() -> String {
    "/error".to_owned()
}

/// What an error of a token endpoint means (`architecture.md` §6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The grant is dead.
    Permanent,
    /// The auth config is broken, the grant is not.
    Operator,
    /// Too many requests.
    RateLimited,
    /// Try again later.
    Transient,
}

/// One of several tokens in an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClass {
    /// Its name here; a service names the one it is called with.
    pub class: String,
    /// JSON pointer to the access token.
    pub access: String,
    /// JSON pointer to the refresh token.
    pub refresh: String,
    /// JSON pointer to the access token's life in seconds.
    pub expires: String,
    /// JSON pointer to its scopes.
    pub scope: String,
    /// The word that is put before its scopes, so that they are told apart ([`super::Authorize::scope_classes`]).
    #[serde(default)]
    pub scope_prefix: String,
}

/// How the token endpoint refuses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refusals {
    /// A refresh token that is spent, unknown, revoked or at its end.
    pub grant: Option<Refusal>,
    /// A client that does not prove itself.
    pub client: Option<Refusal>,
}

/// One refusal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Its status.
    pub http: u16,
    /// Its body.
    pub body: JsonText,
}

/// JSON written as a text in a catalogue file: read, and so checked, with the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonText(pub Value);

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(de::Error::custom)
    }
}
