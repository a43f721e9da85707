//! How a token is revoked, and how we learn who connected.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{JsonText, TokenHeader};
use crate::template::Template;

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
    /// Where the access token goes with `auth = "bearer"`.
    #[serde(default)]
    pub token_header: TokenHeader,
    /// In which form the token is named.
    #[serde(default)]
    pub body: RevokeBody,
    /// Members added to the body.
    #[serde(default)]
    pub params: BTreeMap<String, Template>,
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
    /// The application's installation in a workspace, which all its users share: siblings die with it.
    Install,
    /// Every grant of that provider account under the same client: siblings die with it.
    Account,
}

impl BlastRadius {
    /// Whether other connections die with one.
    pub const fn reaches_siblings(self) -> bool {
        matches!(self, Self::Install | Self::Account)
    }
}

/// How we learn who connected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySpec {
    /// Where the answer stands.
    #[serde(default)]
    pub source: IdentitySource,
    /// The address that is asked, with the access token.
    pub url: Option<Template>,
    /// GET or POST.
    #[serde(default)]
    pub method: IdentityMethod,
    /// The body of a POST (GraphQL).
    pub body: Option<JsonText>,
    /// Where the access token goes.
    #[serde(default)]
    pub token_header: TokenHeader,
    /// Headers added to the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON pointers to the key that never changes; the first that is there serves.
    pub stable_key: Vec<String>,
    /// JSON pointers to a name for people; the first that is there serves.
    #[serde(default)]
    pub label: Vec<String>,
    /// JSON pointers to the tenant or workspace that the key belongs to; the first that is there becomes
    /// part of the key.
    #[serde(default)]
    pub workspace: Vec<String>,
    /// Which of several sites the connection is for (Jira's cloud id, Xero's tenant).
    pub pick: Option<SitePick>,
    /// The answer, as the provider's documentation shows it.
    pub example: Option<JsonText>,
    /// The claims of an id token, as the provider's documentation shows them.
    pub claims: Option<JsonText>,
}

/// Where it is said who connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentitySource {
    /// At an address of its own.
    #[default]
    Http,
    /// In the answer of the token endpoint: nothing more is asked.
    TokenResponse,
    /// In the claims of the id token that came with the code's answer (OpenID Connect Core §2). For credentials that
    /// came without one the address is asked, if there is one; `workspace` is not looked for there.
    IdToken,
}

/// The method of an identity request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IdentityMethod {
    /// Most.
    #[default]
    Get,
    /// Slack, Dropbox, GraphQL.
    Post,
}

/// Which of several sites a connection is for: asked once, after the consent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePick {
    /// The address that lists them, by GET with the access token.
    pub url: Template,
    /// JSON pointer to the list; empty where the answer itself is one.
    #[serde(default)]
    pub list: String,
    /// JSON pointer, inside an item, to its id.
    pub id: String,
    /// JSON pointer, inside an item, to its name for people.
    pub label: String,
    /// Under which name the id is kept, to be used as `{token.<name>}`.
    pub store_as: String,
    /// The answer, as the provider's documentation shows it.
    pub example: Option<JsonText>,
}
