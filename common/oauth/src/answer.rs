//! Reading what a token endpoint answers, whatever its form: JSON or a form, regardless of the content type;
//! errors inside a 200; numbers as text; members missing or unknown. Nothing here panics on any bytes.

use std::time::Duration;

use latchkey_domain::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::{Host, Url};

pub use crate::classify::{SUSPICIOUS_LIMIT, TokenError};
use crate::{
    classify::{self, unreadable},
    message::HttpAnswer,
    spec::{Keep, OauthSpec, TimeField, TimeUnit},
    tokens::TokenSet,
};

/// Largest answer of a token endpoint that is read, in bytes: two tokens of the default ceiling and room
/// for what providers add. The `max_body` to send token requests with.
pub const TOKEN_ANSWER_BYTES: usize = 64 * 1024;

/// Most scopes kept from an answer; the rest is dropped.
const MAX_SCOPES: usize = 500;

/// What the answer answers: where that comes from which it leaves out.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A code was exchanged; scopes that the answer does not name are those that were asked for (RFC 6749
    /// §5.1).
    Code {
        /// The scopes of the session.
        scopes: &'a [String],
    },
    /// These tokens were refreshed: refresh token, its end, scopes and kept members stay where the answer
    /// is silent.
    Refresh(&'a TokenSet),
}

/// Reads the answer of a token endpoint.
pub fn parse_tokens(
    spec: &OauthSpec,
    answer: &HttpAnswer,
    asked: Asked<'_>,
    now: Timestamp,
) -> Result<TokenSet, TokenError> {
    let status = answer.status.as_u16();
    let members = members(&answer.body);
    let granted = members
        .as_ref()
        .filter(|members| answer.status.is_success() && !names_an_error(members))
        .and_then(|members| Some((members, text(members, "/access_token")?)));
    let Some((members, access)) = granted else {
        return Err(classify::classify(spec, answer, members.as_ref(), now));
    };
    if !usable(&access, spec.limits.max_access_bytes) {
        return Err(unreadable(status, "unusable_access_token"));
    }
    let refresh = text(members, "/refresh_token");
    if refresh
        .as_deref()
        .is_some_and(|token| !usable(token, spec.limits.max_refresh_bytes))
    {
        return Err(unreadable(status, "unusable_refresh_token"));
    }
    let previous = match asked {
        Asked::Code { .. } => None,
        Asked::Refresh(tokens) => Some(tokens),
    };
    let expires_at = end(members, spec.response.expires.as_ref(), "/expires_in", now)
        .or_else(|| fallback(spec.lifetimes.access_s, now));
    let refresh_end = end(
        members,
        spec.response.refresh_expires.as_ref(),
        "/refresh_token_expires_in",
        now,
    );
    let (refresh, refresh_expires_at) = match refresh {
        Some(token) => (
            Some(SecretString::from(token)),
            refresh_end.or_else(|| fallback(spec.lifetimes.refresh_s, now)),
        ),
        None => (
            previous.and_then(|tokens| tokens.refresh.clone()),
            refresh_end.or_else(|| previous.and_then(|tokens| tokens.refresh_expires_at)),
        ),
    };
    Ok(TokenSet {
        access: access.into(),
        refresh,
        token_type: token_type(members),
        scopes: scopes(members).unwrap_or_else(|| match asked {
            Asked::Code { scopes } => scopes.to_vec(),
            Asked::Refresh(tokens) => tokens.scopes.clone(),
        }),
        expires_at,
        refresh_expires_at,
        issued_at: now,
        extra: kept(spec, members, previous),
    })
}

/// The members of an answer: a JSON object, or a form that holds a token or an error.
pub(crate) fn members(body: &[u8]) -> Option<Value> {
    if body.len() > TOKEN_ANSWER_BYTES {
        return None;
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first == b'{' {
        return serde_json::from_slice(body).ok();
    }
    if matches!(first, b'<' | b'[' | b'"') {
        return None;
    }
    let form: Map<String, Value> = form_urlencoded::parse(body.trim_ascii())
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    (form.contains_key("access_token") || form.contains_key("error")).then_some(Value::Object(form))
}

/// The text at a JSON pointer; numbers count as text, an empty text as nothing.
pub(crate) fn text(members: &Value, pointer: &str) -> Option<String> {
    match members.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn names_an_error(members: &Value) -> bool {
    match members.pointer("/error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(code)) => !code.is_empty(),
        Some(_) => true,
    }
}

/// Whether a token may be kept and sent in a header (RFC 6749 appendix A: visible ASCII and space).
fn usable(token: &str, max_bytes: usize) -> bool {
    token.len() <= max_bytes && token.bytes().all(|byte| (0x20..=0x7E).contains(&byte))
}

fn token_type(members: &Value) -> String {
    match text(members, "/token_type") {
        Some(kind) if !kind.eq_ignore_ascii_case("bearer") && usable(&kind, 64) => kind,
        _ => "Bearer".to_owned(),
    }
}

/// When a token ends. A lifetime that is zero or negative says nothing: some servers write 0 for "never".
fn end(
    members: &Value,
    field: Option<&TimeField>,
    default_path: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let (path, unit) = field.map_or((default_path, TimeUnit::DeltaS), |field| {
        (field.path.as_str(), field.unit)
    });
    unit.read(members.pointer(path)?, now)
        .filter(|at| *at > now)
}

fn fallback(life_s: Option<u64>, now: Timestamp) -> Option<Timestamp> {
    life_s.map(|secs| now + Duration::from_secs(secs))
}

/// The scopes of an answer: a text with spaces or commas, or an array.
fn scopes(members: &Value) -> Option<Vec<String>> {
    let split = |text: &str| -> Vec<String> {
        text.split([' ', ',', '\t', '\n'])
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .take(MAX_SCOPES)
            .collect()
    };
    match members.pointer("/scope")? {
        Value::String(text) => Some(split(text)),
        Value::Array(list) => Some(
            list.iter()
                .filter_map(Value::as_str)
                .flat_map(split)
                .take(MAX_SCOPES)
                .collect(),
        ),
        _ => None,
    }
}

/// What the entry keeps. A value that is not what it must be is left out: a call that needs it then fails
/// with a clear error, and the grant lives.
fn kept(spec: &OauthSpec, members: &Value, previous: Option<&TokenSet>) -> Map<String, Value> {
    let mut extra = previous
        .map(|tokens| tokens.extra.clone())
        .unwrap_or_default();
    for (name, keep) in &spec.response.keep {
        if let Some(value) = text(members, &keep.path).filter(|value| keep_is_safe(keep, value)) {
            extra.insert(name.clone(), Value::String(value));
        }
    }
    extra
}

fn keep_is_safe(keep: &Keep, value: &str) -> bool {
    value.len() <= Keep::MAX_BYTES
        && (keep.host_suffix_allow.is_empty() || host_is_below(value, &keep.host_suffix_allow))
}

/// Whether a host, or the host of an https address, is one of these domains or below one of them.
pub fn host_is_below(value: &str, domains: &[String]) -> bool {
    let text = if value.contains("://") {
        value.to_owned()
    } else {
        format!("https://{value}")
    };
    let Ok(url) = Url::parse(&text) else {
        return false;
    };
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && (value.contains("://") || (url.path() == "/" && !value.contains('/')));
    let Some(Host::Domain(host)) = url.host().filter(|_| plain) else {
        return false;
    };
    domains.iter().any(|domain| {
        host == domain
            || host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    })
}
