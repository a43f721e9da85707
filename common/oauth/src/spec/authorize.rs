//! Where the browser is sent, with what, and what it brings back.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::template::Template;

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
    /// Classes of scopes that have a parameter of their own (Slack's `user_scope`, HubSpot's
    /// `optional_scope`): the parameter, and the word with which such scopes begin in this catalogue
    /// (`user:`), which the provider never sees.
    #[serde(default)]
    pub scope_classes: BTreeMap<String, String>,
    /// What stands between scopes; RFC 6749 says a space.
    #[serde(default)]
    pub scope_separator: ScopeSeparator,
    /// Whether a PKCE challenge is sent. On unless the provider refuses it.
    #[serde(default)]
    pub pkce: PkceMode,
    /// Longest `state` that the provider takes, in characters; ours have 43.
    pub state_max_len: Option<usize>,
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

impl ScopeSeparator {
    /// The separator itself.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Space => " ",
            Self::Comma => ",",
        }
    }
}

/// Whether PKCE (RFC 7636) is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PkceMode {
    /// A SHA-256 challenge is sent, and the verifier with the code.
    #[default]
    S256,
    /// The same, and the provider refuses requests without it.
    Required,
    /// Neither is sent, because the provider refuses or misreads them.
    Off,
}

impl PkceMode {
    /// Whether a challenge is sent.
    pub const fn is_used(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// What the browser brings back to the callback.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callback {
    /// The parameter that holds the code.
    pub code_param: String,
    /// Values that the callback brings besides the code, kept with the connection and offered as
    /// `{connection.<name>}`.
    pub capture: BTreeMap<String, Capture>,
    /// A check of the whole callback that data cannot say.
    pub check: Option<CallbackCheck>,
}

impl Default for Callback {
    fn default() -> Self {
        Self {
            code_param: "code".to_owned(),
            capture: BTreeMap::new(),
            check: None,
        }
    }
}

/// A value that a callback brings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The query parameter it comes in.
    pub query: String,
    /// What the whole value must match; one that does not is refused.
    pub regex: String,
    /// Whether a callback without it is refused.
    #[serde(default)]
    pub required: bool,
    /// The value that the sandbox brings.
    pub example: String,
}

/// A check of a callback that is code (`providers/quirks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackCheck {
    /// Shopify signs the query with the client secret.
    ShopifyHmac,
}
