//! Auth schemes: Flowra's words for what a connection holds, the fields that each is made of, and how they
//! become the tokens of a connection.

use base64::{Engine, prelude::BASE64_STANDARD};
use latchkey_domain::Timestamp;
use latchkey_oauth::TokenSet;
use latchkey_providers::{KeyKind, Provider, keys};
use latchkey_store::{JsonMap, Scheme};
use secrecy::SecretString;
use serde_json::Value;

use crate::{check::Checks, error::ApiError, reply::Result};

/// Flowra's words. Those that no provider here takes are known, so that they are refused by name.
pub(crate) const WORDS: [&str; 16] = [
    "OAUTH1",
    "OAUTH2",
    "S2S_OAUTH2",
    "API_KEY",
    "BASIC",
    "BEARER_TOKEN",
    "BILLCOM_AUTH",
    "GOOGLE_SERVICE_ACCOUNT",
    "NO_AUTH",
    "BASIC_WITH_JWT",
    "CALCOM_AUTH",
    "SERVICE_ACCOUNT",
    "SAML",
    "DCR_OAUTH",
    "COOKIE",
    "WHATSAPP_QR",
];

/// Characters of a credential.
const MAX_CREDENTIAL: usize = 16 * 1024;

/// A field that a scheme is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its name for people.
    pub(crate) label: &'static str,
    /// Whether it is a secret.
    pub(crate) secret: bool,
    /// Other names of it.
    aliases: &'static [&'static str],
}

/// Flowra's word for a scheme.
pub(crate) const fn word(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Oauth2 => "OAUTH2",
        Scheme::ApiKey => "API_KEY",
        Scheme::Basic => "BASIC",
        Scheme::BearerToken => "BEARER_TOKEN",
    }
}

/// Reads a scheme that this toolkit's provider takes.
///
/// # Errors
/// 400 naming `field`.
pub(crate) fn read(provider: &Provider, field: &str, text: &str) -> Result<Scheme> {
    let offered: Vec<_> = Scheme::ALL
        .into_iter()
        .filter(|s| is_offered(provider, *s))
        .collect();
    let found = offered.iter().find(|scheme| word(**scheme) == text);
    found.copied().ok_or_else(|| {
        let words: Vec<_> = offered.iter().map(|scheme| word(*scheme)).collect();
        let known = WORDS.contains(&text);
        let problem = if known {
            "is not offered for this toolkit"
        } else {
            "is no auth scheme"
        };
        ApiError::field(field, format!("{problem}: it takes {}", words.join(", ")))
    })
}

/// Whether a provider takes a scheme.
pub(crate) fn is_offered(provider: &Provider, scheme: Scheme) -> bool {
    let kind = match scheme {
        Scheme::Oauth2 => return true,
        Scheme::ApiKey => KeyKind::ApiKey,
        Scheme::Basic => KeyKind::Basic,
        Scheme::BearerToken => KeyKind::BearerToken,
    };
    provider.key_scheme(kind).is_some()
}

/// What an end user is asked for.
pub(crate) const fn fields(scheme: Scheme) -> &'static [Field] {
    match scheme {
        Scheme::Oauth2 => &[],
        Scheme::ApiKey => &[Field {
            name: "api_key",
            label: "API key",
            secret: true,
            aliases: &["generic_api_key", "apiKey"],
        }],
        Scheme::Basic => &[
            Field {
                name: "username",
                label: "User name",
                secret: false,
                aliases: &[],
            },
            Field {
                name: "password",
                label: "Password",
                secret: true,
                aliases: &[],
            },
        ],
        Scheme::BearerToken => &[Field {
            name: "token",
            label: "Token",
            secret: true,
            aliases: &["bearer_token", "access_token", "api_key"],
        }],
    }
}

/// Takes the scheme's own fields out of what was given, by their first names.
pub(crate) fn take_fields(scheme: Scheme, given: &mut JsonMap) -> JsonMap {
    let mut taken = JsonMap::new();
    for field in fields(scheme) {
        for name in std::iter::once(&field.name).chain(field.aliases) {
            if let Some(value) = given.remove(*name) {
                taken.entry(field.name).or_insert(value);
            }
        }
    }
    taken
}

/// The token set of credentials that were given: of a key, a password, or tokens from elsewhere.
///
/// # Errors
/// 400 naming each missing or wrong member below `field`.
pub(crate) fn tokens(
    scheme: Scheme,
    field: &str,
    given: &JsonMap,
    scopes: &[String],
    now: Timestamp,
) -> Result<TokenSet> {
    let mut checks = Checks::default();
    let mut text = |name: &str, required: bool| {
        let at = format!("{field}.{name}");
        match given.get(name) {
            None | Some(Value::Null) => {
                checks.require(!required, &at, "is required");
                None
            }
            Some(Value::String(value)) => {
                let fits = (1..=MAX_CREDENTIAL).contains(&value.len())
                    && !value.chars().any(char::is_control);
                checks.require(
                    fits,
                    &at,
                    format!("must be 1 to {MAX_CREDENTIAL} characters"),
                );
                Some(value.clone())
            }
            Some(_) => {
                checks.require(false, &at, "must be a text");
                None
            }
        }
    };
    let (access, refresh, token_type) = match scheme {
        Scheme::Oauth2 => (
            text("access_token", true),
            text("refresh_token", false),
            "Bearer",
        ),
        Scheme::ApiKey => (text("api_key", true), None, keys::API_KEY),
        Scheme::BearerToken => (text("token", true), None, "Bearer"),
        Scheme::Basic => {
            let pair = text("username", true).zip(text("password", true));
            let colon = pair.as_ref().is_some_and(|(user, _)| user.contains(':'));
            let at = format!("{field}.username");
            checks.require(!colon, &at, "must hold no colon (RFC 7617)");
            let encoded = pair.map(|(user, pass)| BASE64_STANDARD.encode(format!("{user}:{pass}")));
            (encoded, None, keys::BASIC)
        }
    };
    let expires_at = expiry(&mut checks, field, given, now);
    let scopes = granted(&mut checks, field, given, scopes);
    checks.finish()?;
    Ok(TokenSet {
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        access: access.unwrap_or_default().into(),
        refresh: refresh.map(SecretString::from),
        token_type: token_type.to_owned(),
        scopes,
        expires_at,
        refresh_expires_at: None,
        issued_at: now,
        extra: JsonMap::new(),
        id_token: None,
    })
}

/// When given tokens end: `expires_in` in seconds, or `expired_at` as a time.
fn expiry(checks: &mut Checks, field: &str, given: &JsonMap, now: Timestamp) -> Option<Timestamp> {
    const YEARS_100: u64 = 100 * 366 * 24 * 3600;
    if let Some(value) = given.get("expires_in").filter(|value| !value.is_null()) {
        let seconds = match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        };
        let seconds = seconds.filter(|seconds| *seconds <= YEARS_100);
        let at = format!("{field}.expires_in");
        checks.require(seconds.is_some(), &at, "must be seconds from now");
        return seconds.map(|seconds| now + std::time::Duration::from_secs(seconds));
    }
    let value = given.get("expired_at").filter(|value| !value.is_null())?;
    let time = value.as_str().and_then(|text| Timestamp::parse(text).ok());
    let at = format!("{field}.expired_at");
    checks.require(
        time.is_some(),
        &at,
        "must be a time such as 2026-11-21T20:00:00Z",
    );
    time
}

/// The scopes of given tokens: as said, else those that the config asks for.
fn granted(checks: &mut Checks, field: &str, given: &JsonMap, default: &[String]) -> Vec<String> {
    let at = format!("{field}.scope");
    let said: Option<Vec<String>> = match given.get("scope") {
        None | Some(Value::Null) => return default.to_vec(),
        Some(Value::String(text)) => Some(
            text.split([' ', ','])
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    };
    let said = said.filter(|scopes| scopes.len() <= 100 && scopes.iter().all(|s| s.len() <= 255));
    checks.require(
        said.is_some(),
        &at,
        "must be at most 100 scopes, as a text or a list of texts",
    );
    said.unwrap_or_default()
}

/// The members of given tokens that are ours to read; others are for connect-time inputs.
pub(crate) const OAUTH_MEMBERS: [&str; 8] = [
    "access_token",
    "refresh_token",
    "token_type",
    "scope",
    "expires_in",
    "expired_at",
    "id_token",
    "status",
];
