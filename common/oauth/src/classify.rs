//! Classing a token endpoint's errors, once and here: the catalogue's rules first, in their order; then what
//! RFC 6749 §5.2 says; then the status.

use latchkey_domain::{
    Timestamp,
    refresh::{Class, Ended},
};
use serde_json::Value;

use crate::{
    answer::text,
    message::HttpAnswer,
    spec::{ErrorClass, ErrorRule, OauthSpec},
    times::{DEFAULT_WAIT, retry_after},
};

/// After this many failures in a row an error code that no rule knows counts as permanent: one try after
/// the store was read again, and one more in case that met the same passing fault.
pub const SUSPICIOUS_LIMIT: u32 = 3;

/// Longest error code kept, in bytes.
const CODE_BYTES: usize = 64;

/// Longest description kept, in characters.
const DESCRIPTION_CHARS: usize = 200;

/// A word this long is not shown: it could be a token.
const SECRET_CHARS: usize = 20;

/// A token endpoint's refusal, or an answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token endpoint answered {status} {code}")]
pub struct TokenError {
    /// The HTTP status.
    pub status: u16,
    /// The provider's error code, cleaned; `http_502`, `unreadable_answer` and the like where it gave none.
    pub code: String,
    /// The provider's words, cleaned, cut, and without anything that looks like a secret.
    pub description: Option<String>,
    /// What it means for one failure; see [`TokenError::class_after`].
    pub class: Class,
    /// The provider named an error that no rule knows.
    pub suspicious: bool,
    /// How this presentation ended: refused, or not known (a 5xx, a 200 that cannot be read).
    pub ended: Ended,
}

impl TokenError {
    /// What the error means after this many failures in a row (this one not counted): what no rule knows is
    /// transient until [`SUSPICIOUS_LIMIT`], then permanent.
    pub fn class_after(&self, failures: u32) -> Class {
        if self.suspicious && failures.saturating_add(1) >= SUSPICIOUS_LIMIT {
            Class::Permanent
        } else {
            self.class
        }
    }
}

/// An answer that says success and cannot be used: the provider may have rotated.
pub(crate) fn unreadable(status: u16, code: &str) -> TokenError {
    TokenError {
        status,
        code: code.to_owned(),
        description: None,
        class: Class::Transient,
        suspicious: false,
        ended: Ended::Unknown,
    }
}

/// The error of an answer that holds no tokens.
pub(crate) fn classify(
    spec: &OauthSpec,
    answer: &HttpAnswer,
    members: Option<&Value>,
    now: Timestamp,
) -> TokenError {
    let status = answer.status.as_u16();
    let named = members.and_then(|members| error_code(spec, members));
    let refused = |members: &Value| {
        let not_ok = |path: &String| members.pointer(path) == Some(&Value::Bool(false));
        members.get("error").is_some() || spec.response.ok_path.as_ref().is_some_and(not_ok)
    };
    if answer.status.is_success() && named.is_none() && !members.is_some_and(refused) {
        return unreadable(status, "unreadable_answer");
    }
    let rule = members.and_then(|members| {
        let matching = |rule: &&ErrorRule| rule.matches(status, members);
        spec.errors.iter().find(matching)
    });
    let known = rule
        .map(|rule| rule.class)
        .or_else(|| by_status(status))
        .or_else(|| named.as_deref().and_then(by_code));
    let class = match known {
        Some(ErrorClass::Permanent) => Class::Permanent,
        Some(ErrorClass::Operator) => Class::Operator,
        Some(ErrorClass::RateLimited) => {
            Class::RateLimited(retry_after(&answer.headers, now).unwrap_or(now + DEFAULT_WAIT))
        }
        Some(ErrorClass::Transient) | None => Class::Transient,
    };
    TokenError {
        status,
        code: named.unwrap_or_else(|| format!("http_{status}")),
        description: members.and_then(description),
        class,
        // Only an error that the OAuth server itself named: a page of some gateway says nothing of the grant.
        suspicious: known.is_none() && members.is_some_and(refused),
        ended: if answer.status.is_success() || answer.status.is_client_error() {
            Ended::Refused
        } else {
            Ended::Unknown
        },
    }
}

impl ErrorRule {
    /// Whether every condition of the rule holds.
    pub fn matches(&self, status: u16, members: &Value) -> bool {
        if self.http.is_some_and(|http| http != status) {
            return false;
        }
        if self.equals.is_empty() && self.contains.is_none() && self.regex.is_none() {
            return true;
        }
        let Some(text) = text(members, &self.path) else {
            return false;
        };
        (self.equals.is_empty() || self.equals.contains(&text))
            && self
                .contains
                .as_ref()
                .is_none_or(|part| text.contains(part))
            && self
                .regex
                .as_ref()
                .is_none_or(|pattern| pattern.is_in(&text))
    }
}

/// What a status says whatever the body: checked before RFC 6749's codes, after the catalogue's rules.
fn by_status(status: u16) -> Option<ErrorClass> {
    match status {
        429 => Some(ErrorClass::RateLimited),
        408 | 425 | 500..=599 => Some(ErrorClass::Transient),
        _ => None,
    }
}

/// RFC 6749 §4.1.2.1 and §5.2, RFC 8628's `slow_down`, and what the newer drafts add.
fn by_code(code: &str) -> Option<ErrorClass> {
    match code {
        "invalid_grant" | "access_denied" => Some(ErrorClass::Permanent),
        "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => {
            Some(ErrorClass::Operator)
        }
        "slow_down" => Some(ErrorClass::RateLimited),
        "temporarily_unavailable" | "server_error" => Some(ErrorClass::Transient),
        _ => None,
    }
}

/// The error code, cleaned: at `/error`, or where other servers put it.
pub(crate) fn error_code(spec: &OauthSpec, members: &Value) -> Option<String> {
    let usual = ["/error", "/error/code", "/error/type", "/code"];
    let places = spec.response.error_path.iter().map(String::as_str);
    let code = places
        .chain(usual)
        .find_map(|pointer| text(members, pointer))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let clean = |c: char| if plain(c) { c } else { '_' };
    Some(code.chars().take(CODE_BYTES).map(clean).collect())
}

fn description(members: &Value) -> Option<String> {
    let words = ["/error_description", "/error/message", "/message"]
        .iter()
        .find_map(|pointer| text(members, pointer))?;
    Some(redacted(&words))
}

/// Words without control characters, cut, each word that could be a secret left out.
pub(crate) fn redacted(words: &str) -> String {
    let mut out = String::new();
    for word in words.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(if could_be_secret(word) {
            "[redacted]"
        } else {
            word
        });
        if out.chars().count() > DESCRIPTION_CHARS {
            return out.chars().take(DESCRIPTION_CHARS).collect();
        }
    }
    out
}

fn could_be_secret(word: &str) -> bool {
    let long = word.chars().count() >= SECRET_CHARS;
    let mixed = word.len() >= 8
        && word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().any(|b| b.is_ascii_alphabetic());
    long || mixed
}
