//! The types of a catalogue file. Every field has behaviour; an unknown one is an error naming file and line.

use std::collections::BTreeMap;

pub use latchkey_oauth::spec::TokenHeader;
use latchkey_oauth::{AppKind, OauthSpec, Template, spec::JsonText};
use serde::Deserialize;

use crate::{
    keys::KeyScheme,
    paging::Pagination,
    rate::{LimitedWhen, RateSpec},
};

/// One provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name in paths and tables.
    pub slug: String,
    /// Its name for people.
    pub display_name: String,
    /// Where the provider documents what stands here.
    pub doc_url: Option<String>,
    /// When somebody last compared this file with that page (`2026-11-21`).
    pub verified_at: Option<String>,
    /// Fields of this file that one source alone, or none that was read, vouches for, as dotted paths
    /// (`oauth.rotation.mode`). They are shown as such; an operator who knows better extends the entry.
    #[serde(default)]
    pub unsure: Vec<String>,
    /// What an auth config must or may give (`{app.…}`).
    #[serde(default)]
    pub app_params: Vec<Param>,
    /// What is asked before connecting (`{connection.…}`).
    #[serde(default)]
    pub connection_params: Vec<Param>,
    /// Scopes that every session asks for.
    #[serde(default)]
    pub base_scopes: Vec<String>,
    /// The protocol.
    pub oauth: OauthSpec,
    /// Kinds of application, where the provider has several: an auth config picks one by its parameter
    /// `app_kind`; the first is the default.
    #[serde(default)]
    pub app_kinds: Vec<AppKind>,
    /// Its parts.
    pub services: Vec<Service>,
    /// What its connections may hold beside OAuth tokens.
    #[serde(default)]
    pub keys: Vec<KeyScheme>,
    /// How it says that it is asked too often.
    #[serde(default)]
    pub rate: RateSpec,
    /// Answers of the API that mean "this access token does not work", beside 401.
    #[serde(default)]
    pub unauthorized_when: Vec<LimitedWhen>,
    /// The protocol of each kind, built when the file is read.
    #[serde(skip)]
    pub(crate) kinds: BTreeMap<String, OauthSpec>,
}

/// A value that is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Its name in placeholders.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Taken when none is given; without it the value is required.
    pub default: Option<String>,
    /// What the whole value must match.
    pub regex: Option<String>,
    /// If not empty: the value is one of these domains or a host below one of them.
    #[serde(default)]
    pub host_suffix_allow: Vec<String>,
}

/// A part of a provider with its own base address and permissions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name in paths.
    pub slug: String,
    /// What every request's path is appended to.
    pub base_url: Template,
    /// Whether `/api/v1/{service}/…` reaches it without the provider's name.
    #[serde(default)]
    pub top_level: bool,
    /// Headers sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// Where the access token goes.
    #[serde(default)]
    pub token_header: TokenHeader,
    /// Which of several tokens it is called with (`oauth.response.tokens`); the grant's own unless said.
    pub token_class: Option<String>,
    /// How its lists go on, where an endpoint does not say otherwise.
    pub pagination: Option<Pagination>,
    /// The header in which this service honours an idempotency key.
    pub idempotency_header: Option<String>,
    /// What may be granted.
    pub permissions: Vec<Permission>,
    /// Named endpoints.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// Something an end user can grant and a partner can switch off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// Its id, such as `gmail.read`.
    pub id: String,
    /// Whether it covers reading or acting.
    pub kind: PermissionKind,
    /// The provider's scopes it needs; none where the provider has no scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes of the provider that include it too.
    #[serde(default)]
    pub implied_by: Vec<String>,
    /// Whether a session that names nothing asks for it.
    #[serde(default)]
    pub default: bool,
}

/// Whether a permission covers reading or acting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// GET and HEAD.
    Read,
    /// Everything else, and what acts though it is a GET.
    Write,
}

/// A named endpoint: what partners call, and the provider's request it becomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its name, unique in the service, such as `list_messages`: the `action` of jobs and receipts.
    pub name: String,
    /// The partner's method.
    pub method: String,
    /// The partner's path below the service, such as `/messages/{id}`.
    pub path: String,
    /// What it does, in a sentence for people and models; made of its name unless said.
    pub about: Option<String>,
    /// The permission it needs.
    pub permission: String,
    /// Its parameters by their public name.
    #[serde(default)]
    pub params: BTreeMap<String, EndpointParam>,
    /// What becomes of the body.
    #[serde(default)]
    pub body: BodyRule,
    /// The provider's request.
    pub request: ProviderRequest,
    /// Of a list: JSON pointer to the items in the provider's answer; empty where the answer is the list. A
    /// list takes `limit` and `cursor` and tells `next_cursor`.
    pub items: Option<String>,
    /// How this list goes on, if not as the service's others do.
    pub pagination: Option<Pagination>,
    /// The form in which partners get the answer, or each item of a list ([`crate::shape`]); the provider's
    /// own unless said.
    pub shape: Option<JsonText>,
    /// The provider's answer as its documentation shows it, with `{name}` of parameters and, of a list, one
    /// item with `{n}`: what the sandbox answers with.
    pub example: Option<JsonText>,
}

/// A parameter of a named endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointParam {
    /// Where partners put it.
    #[serde(rename = "in", default)]
    pub place: ParamPlace,
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: ParamType,
    /// What it is, for people and models.
    pub about: Option<String>,
    /// Whether it must be there.
    #[serde(default)]
    pub required: bool,
    /// Other public names of it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The provider's name of it; the same by default.
    pub to: Option<String>,
    /// Sent when none is given.
    pub default: Option<String>,
    /// Smallest number.
    pub min: Option<i64>,
    /// Largest number, or longest text in characters.
    pub max: Option<i64>,
    /// If not empty: the values allowed.
    #[serde(default)]
    pub one_of: Vec<String>,
}

/// Where a parameter stands in the partner's request, and so in the provider's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamPlace {
    /// The query.
    #[default]
    Query,
    /// The path template.
    Path,
    /// A member of the JSON body.
    Body,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Texts: repeated in a query, an array in a body.
    Strings,
    /// Any JSON; in bodies only.
    Json,
}

/// What becomes of the partner's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyRule {
    /// The declared `body` parameters, renamed; anything else is an error. None declared: no body.
    #[default]
    Fields,
    /// A JSON object, handed on as it is.
    Json,
    /// An e-mail as fields, turned into Gmail's raw message.
    GmailMessage,
}

/// The provider's request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderRequest {
    /// Its method; the partner's by default.
    pub method: Option<String>,
    /// Its path below the service's base address, with `{name}` of parameters.
    pub path: String,
    /// Query parameters always sent; a value that is `{name}` and nothing else is that parameter's, and is left out
    /// where none was given.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers always sent, beside the service's.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, with parameters where a text is `{name}` and nothing else. What holds only parameters that
    /// were not given is left out.
    pub body: Option<JsonText>,
}
