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
    spec::{IdentitySource, Keep, OauthSpec, ScopeSeparator, TimeField, TimeUnit, TokenClass},
    tokens::{ClassToken, TokenSet},
};

/// Largest answer of a token endpoint that is read, in bytes: two tokens of the default ceiling and room
/// for what providers add. The `max_body` to send token requests with.
pub const TOKEN_ANSWER_BYTES: usize = 64 * 1024;

/// Most scopes kept from an answer; the rest is dropped.
const MAX_SCOPES: usize = 500;

/// Oldest word of an answer on when it was written that is believed: beyond it the clocks differ.
const ISSUED_AGO: Duration = Duration::from_secs(300);

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
    let classes = match asked {
        Asked::Code { .. } => spec.response.tokens.as_slice(),
        // A refresh answers for the one token that was presented, at the top.
        Asked::Refresh(_) => &[],
    };
    let granted = members
        .as_ref()
        .filter(|members| answer.status.is_success() && !names_an_error(spec, members))
        .and_then(|members| Some((members, Place::find(classes, members)?)));
    let Some((members, own)) = granted else {
        return Err(classify::classify(spec, answer, members.as_ref(), now));
    };
    let issued_at = issued_at(spec, members, now);
    let first = own.read(spec, members, status, issued_at)?;
    match asked {
        Asked::Refresh(previous) => Ok(refreshed(spec, members, previous, first, issued_at)),
        Asked::Code { scopes } => {
            let mut tokens = first_tokens(spec, members, own, first, scopes, issued_at);
            for class in classes.iter().filter(|class| class.class != own.class) {
                let place = Place::of(class);
                if text(members, place.access).is_some() {
                    let token = place.read(spec, members, status, issued_at)?;
                    tokens.also.push(token.of_class(place.class));
                    let scopes = scopes_at(spec, members, place.scope, place.scope_prefix);
                    tokens.scopes.extend(scopes.unwrap_or_default());
                }
            }
            Ok(tokens)
        }
    }
}

/// Where the members of one token stand.
#[derive(Clone, Copy)]
struct Place<'a> {
    class: &'a str,
    access: &'a str,
    refresh: &'a str,
    expires: Option<&'a str>,
    scope: &'a str,
    scope_prefix: &'a str,
}

impl<'a> Place<'a> {
    /// RFC 6749 §5.1.
    const STANDARD: Place<'static> = Place {
        class: "",
        access: "/access_token",
        refresh: "/refresh_token",
        expires: None,
        scope: "/scope",
        scope_prefix: "",
    };

    fn of(class: &'a TokenClass) -> Self {
        Self {
            class: &class.class,
            access: &class.access,
            refresh: &class.refresh,
            expires: Some(&class.expires),
            scope: &class.scope,
            scope_prefix: &class.scope_prefix,
        }
    }

    /// The first token that the answer holds.
    fn find(classes: &'a [TokenClass], members: &Value) -> Option<Self> {
        let mut places = classes.iter().map(Self::of).collect::<Vec<_>>();
        if places.is_empty() {
            places.push(Place::STANDARD);
        }
        places
            .into_iter()
            .find(|place| text(members, place.access).is_some())
    }

    fn read(
        &self,
        spec: &OauthSpec,
        members: &Value,
        status: u16,
        issued_at: Timestamp,
    ) -> Result<One, TokenError> {
        let access = text(members, self.access).unwrap_or_default();
        if !usable(&access, spec.limits.max_access_bytes) {
            return Err(unreadable(status, "unusable_access_token"));
        }
        let refresh = text(members, self.refresh);
        let fits = |token: &String| usable(token, spec.limits.max_refresh_bytes);
        if !refresh.as_ref().is_none_or(fits) {
            return Err(unreadable(status, "unusable_refresh_token"));
        }
        let end = match self.expires {
            Some(path) => end(members, None, path, issued_at),
            None => end(
                members,
                spec.response.expires.as_ref(),
                "/expires_in",
                issued_at,
            ),
        };
        Ok(One {
            access: access.into(),
            refresh: refresh.map(SecretString::from),
            expires_at: end.or_else(|| fallback(spec.lifetimes.access_s, issued_at)),
        })
    }
}

/// One token of an answer.
struct One {
    access: SecretString,
    refresh: Option<SecretString>,
    expires_at: Option<Timestamp>,
}

impl One {
    fn of_class(self, class: &str) -> ClassToken {
        ClassToken {
            class: class.to_owned(),
            access: self.access,
            refresh: self.refresh,
            expires_at: self.expires_at,
        }
    }
}

/// When the answer was written: by its own word, if that is not far from ours.
fn issued_at(spec: &OauthSpec, members: &Value, now: Timestamp) -> Timestamp {
    let said = spec.response.issued_at.as_ref().and_then(|field| {
        let at = field.unit.read(members.pointer(&field.path)?, now)?;
        (at <= now && now.since(at) <= ISSUED_AGO).then_some(at)
    });
    said.unwrap_or(now)
}

/// The tokens of a new grant.
fn first_tokens(
    spec: &OauthSpec,
    members: &Value,
    own: Place<'_>,
    one: One,
    asked: &[String],
    issued_at: Timestamp,
) -> TokenSet {
    let ends_at = fallback(spec.lifetimes.refresh_hard_s, issued_at);
    let given = one.refresh.is_some();
    TokenSet {
        access: one.access,
        refresh: one.refresh,
        token_type: token_type(spec, members),
        scopes: scopes_at(spec, members, own.scope, own.scope_prefix)
            .unwrap_or_else(|| asked.to_vec()),
        expires_at: one.expires_at,
        refresh_expires_at: refresh_end(spec, members, given, None, issued_at, ends_at),
        issued_at,
        ends_at,
        class: own.class.to_owned(),
        also: Vec::new(),
        extra: kept(spec, members, None),
        id_token: id_token(spec, members),
    }
}

/// The id token, where it says who connected.
fn id_token(spec: &OauthSpec, members: &Value) -> Option<SecretString> {
    let identity = spec.identity.as_ref()?;
    let wanted = identity.source == IdentitySource::IdToken;
    text(members, "/id_token")
        .filter(|_| wanted)
        .map(SecretString::from)
}

/// The tokens of a grant after one of them was refreshed.
fn refreshed(
    spec: &OauthSpec,
    members: &Value,
    previous: &TokenSet,
    one: One,
    issued_at: Timestamp,
) -> TokenSet {
    let mut tokens = previous.clone();
    tokens.issued_at = issued_at;
    tokens.extra = kept(spec, members, Some(previous));
    let given = one.refresh.is_some();
    match previous.next() {
        None => {
            tokens.access = one.access;
            tokens.expires_at = one.expires_at;
            tokens.refresh = one.refresh.or(tokens.refresh);
            tokens.token_type = token_type(spec, members);
            if previous.also.is_empty() {
                let scopes = scopes_at(spec, members, "/scope", "");
                tokens.scopes = scopes.unwrap_or(tokens.scopes);
            }
        }
        Some(place) => {
            let token = &mut tokens.also[place];
            token.access = one.access;
            token.expires_at = one.expires_at;
            token.refresh = one.refresh.or(token.refresh.take());
        }
    }
    let before = previous.refresh_expires_at;
    tokens.refresh_expires_at =
        refresh_end(spec, members, given, before, issued_at, previous.ends_at);
    tokens
}

/// When the refresh token ends: what the answer says, what the entry knows of a new one, what was known of the
/// old one; a use prolongs one that dies of lying idle, and nothing prolongs the grant's own end.
fn refresh_end(
    spec: &OauthSpec,
    members: &Value,
    given: bool,
    before: Option<Timestamp>,
    now: Timestamp,
    ends_at: Option<Timestamp>,
) -> Option<Timestamp> {
    let lifetimes = &spec.lifetimes;
    let said = end(
        members,
        spec.response.refresh_expires.as_ref(),
        "/refresh_token_expires_in",
        now,
    );
    let known = if given {
        fallback(lifetimes.refresh_s, now)
    } else {
        before
    };
    let idle = fallback(lifetimes.refresh_idle_s, now);
    let end = said.or(idle).or(known);
    end.into_iter().chain(ends_at).min()
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

fn names_an_error(spec: &OauthSpec, members: &Value) -> bool {
    let not_ok = |path: &String| members.pointer(path) != Some(&Value::Bool(true));
    if spec.response.ok_path.as_ref().is_some_and(not_ok) {
        return true;
    }
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

/// The scheme for the header. Where the entry tells classes of tokens apart, the member names the class
/// (Slack's `bot`), and the scheme is `Bearer`.
fn token_type(spec: &OauthSpec, members: &Value) -> String {
    match text(members, "/token_type").filter(|_| spec.response.tokens.is_empty()) {
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
    if let Some(secs) = field.and_then(|field| field.override_s) {
        return Some(now + Duration::from_secs(secs));
    }
    let (path, unit) = field.map_or((default_path, TimeUnit::DeltaS), |field| {
        (field.path.as_str(), field.unit)
    });
    unit.read(members.pointer(path)?, now)
        .filter(|at| *at > now)
}

fn fallback(life_s: Option<u64>, now: Timestamp) -> Option<Timestamp> {
    life_s.map(|secs| now + Duration::from_secs(secs))
}

/// The scopes of an answer: a text in which they stand apart as the entry says, or an array.
fn scopes_at(
    spec: &OauthSpec,
    members: &Value,
    pointer: &str,
    prefix: &str,
) -> Option<Vec<String>> {
    let separators: &[char] = match spec.response.scope_separator {
        None => &[' ', ',', '\t', '\n'],
        Some(ScopeSeparator::Space) => &[' '],
        Some(ScopeSeparator::Comma) => &[','],
    };
    let split = |text: &str| -> Vec<String> {
        text.split(separators)
            .map(str::trim)
            .filter(|scope| !scope.is_empty())
            .map(|scope| format!("{prefix}{scope}"))
            .take(MAX_SCOPES)
            .collect()
    };
    match members.pointer(pointer)? {
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
        if let Some(value) = text(members, &keep.path).and_then(|value| kept_value(keep, value)) {
            extra.insert(name.clone(), Value::String(value));
        }
    }
    extra
}

/// The value, or its host where it goes into an address.
fn kept_value(keep: &Keep, value: String) -> Option<String> {
    if value.len() > Keep::MAX_BYTES {
        return None;
    }
    if keep.host_suffix_allow.is_empty() {
        return Some(value);
    }
    host_below(&value, &keep.host_suffix_allow)
}

/// Whether a host, or the host of an https address, is one of these domains or below one of them.
pub fn host_is_below(value: &str, domains: &[String]) -> bool {
    host_below(value, domains).is_some()
}

/// The host of [`host_is_below`].
fn host_below(value: &str, domains: &[String]) -> Option<String> {
    let text = if value.contains("://") {
        value.to_owned()
    } else {
        format!("https://{value}")
    };
    let url = Url::parse(&text).ok()?;
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && (value.contains("://") || (url.path() == "/" && !value.contains('/')));
    let Some(Host::Domain(host)) = url.host().filter(|_| plain) else {
        return None;
    };
    let below = domains.iter().any(|domain| {
        host == domain
            || host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    });
    below.then(|| host.to_owned())
}
