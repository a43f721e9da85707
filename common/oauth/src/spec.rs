//! The protocol part of a catalogue entry as serde types. Every field here has behaviour in this crate; an
//! unknown one is an error that the catalogue loader reports with file and line.

use std::{collections::BTreeMap, time::Duration};

use latchkey_domain::refresh::RotationRules;
use serde::Deserialize;

use crate::template::Template;

/// Longest access or refresh token kept where the entry does not say: 16 KiB holds every JWT seen.
pub const DEFAULT_TOKEN_BYTES: usize = 16 * 1024;

/// How one provider speaks OAuth 2.0 (`[oauth]` of a catalogue file).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthSpec {
    /// Where and how the browser is sent.
    pub authorize: Authorize,
    /// The token endpoint.
    pub token: Token,
    /// What differs when refreshing.
    #[serde(default)]
    pub refresh: Refresh,
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
    /// How a token is revoked; without it the provider offers no way.
    pub revoke: Option<Revoke>,
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
    /// Replaces `[oauth.refresh]`.
    pub refresh: Option<Refresh>,
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

/// The authorization endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorize {
    /// Its address.
    pub url: Template,
    /// Parameters added to every request.
    #[serde(default)]
    pub params: BTreeMap<String, Template>,
    /// Standard parameters that this provider must not see.
    #[serde(default)]
    pub drop_params: Vec<String>,
    /// Standard parameters under another name.
    #[serde(default)]
    pub rename_params: BTreeMap<String, String>,
    /// What stands between scopes; RFC 6749 says a space.
    #[serde(default)]
    pub scope_separator: ScopeSeparator,
    /// Whether a PKCE challenge is sent. On unless the provider refuses it.
    #[serde(default)]
    pub pkce: PkceMode,
}

/// What stands between scopes in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeSeparator {
    /// RFC 6749 §3.3.
    #[default]
    Space,
    /// Slack, Linear.
    Comma,
}

/// Whether PKCE (RFC 7636) is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PkceMode {
    /// A SHA-256 challenge is sent, and the verifier with the code.
    #[default]
    S256,
    /// Neither is sent, because the provider refuses or misreads them.
    Off,
}

/// The token endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its address.
    pub url: Template,
    /// How the client proves itself.
    #[serde(default)]
    pub auth: ClientAuth,
    /// Headers added to every token request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Form fields added to the exchange.
    #[serde(default)]
    pub params: BTreeMap<String, Template>,
}

/// How the client proves itself (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_id` and `client_secret` in the form.
    #[default]
    Post,
    /// HTTP Basic, id and secret form-encoded first.
    Basic,
    /// `client_id` alone in the form: a public client, protected by PKCE.
    None,
}

/// What differs when refreshing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refresh {
    /// Another address than the token endpoint's.
    pub url: Option<Template>,
    /// Another client authentication than the token endpoint's.
    pub auth: Option<ClientAuth>,
    /// Form fields added to a refresh.
    pub params: BTreeMap<String, Template>,
    /// Whether the granted scopes are sent along.
    pub send_scope: bool,
}

/// How answers of the token endpoint are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
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
    /// An RFC 3339 time.
    Iso8601,
}

/// A member of a token answer that is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// JSON pointer (RFC 6901) to it.
    pub path: String,
    /// If not empty: the value must be a host, or an address whose host is one of these or ends in
    /// `.` and one of these; else it is not kept. For values that go into a base address.
    #[serde(default)]
    pub host_suffix_allow: Vec<String>,
}

impl Keep {
    /// Longest value kept, in bytes.
    pub const MAX_BYTES: usize = 2048;
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// Whether the old one stops working.
    pub mode: RotationMode,
    /// Seconds for which the old one still gives the same successor.
    pub grace_s: u64,
    /// How far the alarm reaches when a spent token is presented.
    pub reuse_effect: ReuseEffect,
}

/// Whether a refresh replaces the refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationMode {
    /// The old one goes on working, whether or not a new one comes.
    #[default]
    None,
    /// The old one dies with its use.
    SingleUse,
}

/// How far the alarm reaches when a spent token is presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseEffect {
    /// No further than this grant.
    #[default]
    RevokesGrant,
    /// Other grants die too, so a generation in doubt is never presented again.
    RevokesBeyondGrant,
}

impl Rotation {
    /// What the refresh protocol needs to know.
    pub fn rules(&self) -> RotationRules {
        RotationRules {
            rotates: self.mode == RotationMode::SingleUse,
            grace: Duration::from_secs(self.grace_s),
            reuse_beyond_grant: self.reuse_effect == ReuseEffect::RevokesBeyondGrant,
        }
    }
}

/// Lifetimes to assume where an answer names none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// Seconds an access token lives; without it, it has no end.
    pub access_s: Option<u64>,
    /// Seconds a refresh token lives; without it, it has no end.
    pub refresh_s: Option<u64>,
}

/// One rule of error classing. All conditions given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// What the error means.
    pub class: ErrorClass,
    /// The status, if it matters.
    pub http: Option<u16>,
    /// JSON pointer to the text that `equals` and `contains` look at.
    #[serde(default = "error_path")]
    pub path: String,
    /// The text is one of these.
    #[serde(default)]
    pub equals: Vec<String>,
    /// The text holds this.
    pub contains: Option<String>,
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

/// How a token is revoked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// POST or DELETE.
    #[serde(default)]
    pub method: RevokeMethod,
    /// Its address.
    pub url: Template,
    /// Who asks.
    #[serde(default)]
    pub auth: RevokeAuth,
    /// In which form the token is named.
    #[serde(default)]
    pub body: RevokeBody,
    /// The name of the member that holds the token.
    #[serde(default = "token_param")]
    pub param: String,
    /// Which tokens are revoked.
    #[serde(default)]
    pub which: RevokeWhich,
    /// Statuses that confirm.
    #[serde(default = "ok_codes")]
    pub success_codes: Vec<u16>,
    /// Statuses that say that the token was already gone.
    #[serde(default)]
    pub gone_codes: Vec<u16>,
    /// What dies with one token.
    #[serde(default)]
    pub blast_radius: BlastRadius,
}

fn token_param() -> String {
    "token".to_owned()
}

fn ok_codes() -> Vec<u16> {
    vec![200]
}

/// The method of a revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RevokeMethod {
    /// RFC 7009.
    #[default]
    Post,
    /// GitHub.
    Delete,
}

/// Who asks for a revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeAuth {
    /// The client, as at the token endpoint with `post`.
    #[default]
    Post,
    /// The client, by HTTP Basic.
    Basic,
    /// Nobody: the token is enough.
    None,
    /// The access token, as Bearer.
    Bearer,
}

/// In which form the token is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeBody {
    /// A form with `token_type_hint` (RFC 7009).
    #[default]
    Form,
    /// A JSON object.
    Json,
    /// Nothing.
    None,
}

/// Which tokens are revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeWhich {
    /// The refresh token, or the access token where there is none.
    #[default]
    RefreshFirst,
    /// The access token.
    Access,
    /// Both, the refresh token first.
    Both,
}

/// What dies with one revoked token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlastRadius {
    /// That token alone.
    Token,
    /// Every token of the grant.
    #[default]
    Grant,
    /// Every grant of that provider account under the same client: siblings die with it.
    Account,
}

/// How we learn who connected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySpec {
    /// Asked by GET with the access token as Bearer.
    pub url: Template,
    /// Headers added to the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON pointers to the key that never changes; the first that is there serves.
    pub stable_key: Vec<String>,
    /// JSON pointers to a name for people; the first that is there serves.
    #[serde(default)]
    pub label: Vec<String>,
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
