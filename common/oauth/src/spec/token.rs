//! The token endpoint: exchange, refresh, and what a refresh does to the refresh token.

use std::{collections::BTreeMap, time::Duration};

use latchkey_domain::refresh::RotationRules;
use serde::Deserialize;

use crate::template::Template;

/// The token endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its address.
    pub url: Template,
    /// How the client proves itself.
    #[serde(default)]
    pub auth: ClientAuth,
    /// The form of the request's body.
    #[serde(default)]
    pub body: TokenBody,
    /// Whether the client id stands in the body too where the client proves itself by Basic.
    #[serde(default)]
    pub client_id_in_body: bool,
    /// Whether the callback's address is repeated in the exchange.
    #[serde(default)]
    pub redirect_uri: RedirectUri,
    /// Seconds for which a code works; RFC 6749 §4.1.2 recommends at most 600.
    pub code_ttl_s: Option<u64>,
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

/// The form of a token request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenBody {
    /// RFC 6749.
    #[default]
    Form,
    /// A JSON object with the same members (Notion, Atlassian).
    Json,
}

/// Whether the callback's address is repeated in the exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectUri {
    /// RFC 6749 §4.1.3: it was sent to the authorization endpoint, so it is sent again.
    #[default]
    Always,
    /// The provider does not expect it.
    Never,
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
    /// What makes a refresh due.
    pub trigger: RefreshTrigger,
    /// Seconds before an access token's end by which it is renewed at the latest, where the provider asks
    /// for more than the usual margin.
    pub lead_s: Option<u64>,
    /// Seconds after which a grant is refreshed whether or not it is used, because the refresh token dies
    /// when it lies idle.
    pub keepalive_s: Option<u64>,
    /// Among whom one refresh at a time is made.
    pub single_flight_key: SingleFlightKey,
}

/// Among whom one refresh at a time is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SingleFlightKey {
    /// Each connection has a refresh token of its own.
    #[default]
    Connection,
    /// The connections of one provider account under one client: they hold the same refresh token, and one of them
    /// presents it for all.
    Account,
}

/// When a refresh is due, apart from its seeded spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Whether the end of the access token counts.
    pub by_clock: bool,
    /// So long before that end.
    pub lead: Duration,
    /// After so long without any refresh, whatever else.
    pub keepalive: Option<Duration>,
}

impl Refresh {
    /// When a refresh is due.
    pub fn renewal(&self) -> Renewal {
        Renewal {
            by_clock: self.trigger != RefreshTrigger::On401,
            lead: Duration::from_secs(self.lead_s.unwrap_or_default()),
            keepalive: self.keepalive_s.map(Duration::from_secs),
        }
    }
}

/// What makes a refresh due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTrigger {
    /// The end of the access token.
    #[default]
    Clock,
    /// A refused call alone: the provider names no end.
    #[serde(rename = "on_401")]
    On401,
    /// The end of the access token, which is asked for at `[oauth.introspect]`: no answer names it. Until an answer
    /// came, and where none comes, the end that the entry assumes.
    Introspect,
}

/// How the end of an access token is asked for (RFC 7662).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introspect {
    /// The introspection endpoint.
    pub url: Template,
    /// Another client authentication than the token endpoint's.
    pub auth: Option<ClientAuth>,
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
    /// Whether a refresh ends the access token given before.
    pub old_access_dies: bool,
}

/// Whether a refresh replaces the refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationMode {
    /// The old one goes on working, whether or not a new one comes.
    #[default]
    None,
    /// A new one comes with each use and the old one goes on working.
    Replace,
    /// The old one dies with its use.
    SingleUse,
    /// The old one dies if a new one comes; where the provider does not say, this is the careful word.
    SingleUseIfReturned,
}

/// How far the alarm reaches when a spent token is presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseEffect {
    /// It is refused and nothing else happens.
    Error,
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
            rotates: self.mode.spends(),
            grace: Duration::from_secs(self.grace_s),
            reuse_beyond_grant: self.reuse_effect == ReuseEffect::RevokesBeyondGrant,
        }
    }
}

impl RotationMode {
    /// Whether a refresh token may be spent by its use.
    pub const fn spends(self) -> bool {
        matches!(self, Self::SingleUse | Self::SingleUseIfReturned)
    }
}

/// Lifetimes to assume where an answer names none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// Seconds an access token lives; without it, it has no end.
    pub access_s: Option<u64>,
    /// Seconds a refresh token lives after it was given; without it, it has no end.
    pub refresh_s: Option<u64>,
    /// Seconds a refresh token lives after it was last used.
    pub refresh_idle_s: Option<u64>,
    /// Seconds after the consent when no refresh helps any more.
    pub refresh_hard_s: Option<u64>,
    /// How many grants of one user an application may hold.
    pub max_live_grants: Option<MaxGrants>,
    /// Whether connecting an account again gives the refresh token that its other connections hold: what one of
    /// them is given by a refresh, the others take over.
    pub shared_refresh_across_connections: bool,
}

/// How many grants of one user an application may hold.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxGrants {
    /// The number.
    pub count: usize,
    /// Which one dies when there is one more.
    #[serde(default)]
    pub evicts: Evicts,
}

/// Which grant makes room for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evicts {
    /// The one made first.
    #[default]
    Oldest,
    /// Any: the provider does not say.
    Any,
}
