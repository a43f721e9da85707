//! The protocol part of a catalogue entry as serde types. Every field here has behaviour in this crate; an
//! unknown one is an error that the catalogue loader reports with file and line.

mod authorize;
mod response;
mod revoke;
mod token;

use serde::Deserialize;

pub use self::{
    authorize::{Authorize, Callback, CallbackCheck, Capture, PkceMode, ScopeSeparator},
    response::{
        ErrorClass, ErrorRule, JsonText, Keep, Refusal, Refusals, Response, TimeField, TimeUnit,
        TokenClass,
    },
    revoke::{
        BlastRadius, IdentityMethod, IdentitySource, IdentitySpec, Revoke, RevokeAuth, RevokeBody,
        RevokeMethod, RevokeWhich, SitePick,
    },
    token::{
        ClientAuth, Evicts, Introspect, Lifetimes, MaxGrants, RedirectUri, Refresh, RefreshTrigger,
        Renewal, ReuseEffect, Rotation, RotationMode, SingleFlightKey, Token, TokenBody,
    },
};
use crate::template::Template;

/// Longest access or refresh token kept where the entry does not say: 16 KiB holds every JWT seen.
pub const DEFAULT_TOKEN_BYTES: usize = 16 * 1024;

/// How one provider speaks OAuth 2.0 (`[oauth]` of a catalogue file).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthSpec {
    /// Where and how the browser is sent.
    pub authorize: Authorize,
    /// What the browser brings back.
    #[serde(default)]
    pub callback: Callback,
    /// The token endpoint.
    pub token: Token,
    /// What differs when refreshing.
    #[serde(default)]
    pub refresh: Refresh,
    /// How the end of an access token is asked for, where no answer names it.
    pub introspect: Option<Introspect>,
    /// How answers of the token endpoint are read.
    #[serde(default)]
    pub response: Response,
    /// What a refresh does to the refresh token.
    #[serde(default)]
    pub rotation: Rotation,
    /// Lifetimes to assume where an answer names none.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// How errors are classed: the first rule that matches; RFC 6749 and the status decide the rest.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// How the token endpoint refuses: what the sandbox plays, RFC 6749 §5.2 where nothing is said.
    #[serde(default)]
    pub refusals: Refusals,
    /// How a token is revoked; without it the provider offers no way.
    pub revoke: Option<Revoke>,
    /// Where an end user removes the application by hand: told in the receipt of a disconnection that the
    /// provider could not confirm.
    pub disconnect_help_url: Option<String>,
    /// How we learn who connected; without it nothing is asked.
    pub identity: Option<IdentitySpec>,
    /// The issuer sent back with the code (RFC 9207).
    pub issuer: Option<Issuer>,
    /// Ceilings on what is accepted.
    #[serde(default)]
    pub limits: TokenLimits,
}

/// A second kind of application at the same provider (`[[app_kinds]]`): whole sections that replace those
/// of `[oauth]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppKind {
    /// What the auth config names in its parameter `app_kind`.
    pub name: String,
    /// Replaces `[oauth.authorize]`.
    pub authorize: Option<Authorize>,
    /// Replaces `[oauth.token]`.
    pub token: Option<Token>,
    /// Replaces `[oauth.refresh]`.
    pub refresh: Option<Refresh>,
    /// Replaces `[oauth.response]`.
    pub response: Option<Response>,
    /// Replaces `[oauth.revoke]`.
    pub revoke: Option<Revoke>,
    /// Replaces `[oauth.rotation]`.
    pub rotation: Option<Rotation>,
    /// Replaces `[oauth.lifetimes]`.
    pub lifetimes: Option<Lifetimes>,
}

impl AppKind {
    /// The base protocol with this kind's sections in place.
    pub fn apply(&self, base: &OauthSpec) -> OauthSpec {
        let mut spec = base.clone();
        if let Some(authorize) = &self.authorize {
            spec.authorize = authorize.clone();
        }
        if let Some(token) = &self.token {
            spec.token = token.clone();
        }
        if let Some(response) = &self.response {
            spec.response = response.clone();
        }
        if let Some(revoke) = &self.revoke {
            spec.revoke = Some(revoke.clone());
        }
        if let Some(refresh) = &self.refresh {
            spec.refresh = refresh.clone();
        }
        if let Some(rotation) = &self.rotation {
            spec.rotation = *rotation;
        }
        if let Some(lifetimes) = &self.lifetimes {
            spec.lifetimes = *lifetimes;
        }
        spec
    }
}

/// The issuer sent back with the code (RFC 9207).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The text it must equal, byte by byte.
    pub expected: Template,
    /// Whether a callback without it is refused.
    #[serde(default)]
    pub required: bool,
}

/// Ceilings on what is accepted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenLimits {
    /// Longest access token in bytes.
    pub max_access_bytes: usize,
    /// Longest refresh token in bytes.
    pub max_refresh_bytes: usize,
}

impl Default for TokenLimits {
    fn default() -> Self {
        Self {
            max_access_bytes: DEFAULT_TOKEN_BYTES,
            max_refresh_bytes: DEFAULT_TOKEN_BYTES,
        }
    }
}

/// Where a token goes in a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenHeader {
    /// The header's name.
    pub name: String,
    /// What stands before the token.
    #[serde(default)]
    pub prefix: String,
}

impl Default for TokenHeader {
    fn default() -> Self {
        Self {
            name: "authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
        }
    }
}
