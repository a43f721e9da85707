//! `/auth_configs`: what a partner connects its users with, a toolkit each.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod status;
pub(crate) mod update;

use latchkey_providers::Provider;
use latchkey_store::JsonMap;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    check::Checks,
    error::ApiError,
    flowra::{tool, toolkit::Toolkit},
    reply::Result,
};

/// Characters of a name.
const MAX_NAME: usize = 255;
/// Characters of a client id and secret.
const MAX_CREDENTIAL: usize = 4096;
/// Tools that a config may be restricted to.
const MAX_TOOLS: usize = 500;

/// Which tools may be used when.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ToolAccess {
    /// Accepted; links ask for the toolkit's usual permissions.
    #[serde(default)]
    tools_for_connected_account_creation: Vec<String>,
}

impl ToolAccess {
    fn check(&self, checks: &mut Checks) {
        let fits = self.tools_for_connected_account_creation.len() <= MAX_TOOLS;
        let field = "authConfig.toolAccessConfig.toolsForConnectedAccountCreation";
        checks.require(fits, field, format!("must be at most {MAX_TOOLS}"));
    }
}

/// The credentials of an OAuth client, taken out of what was given.
struct Credentials {
    client_id: Option<String>,
    client_secret: Option<SecretString>,
    scopes: Option<Vec<String>>,
    /// What the provider needs to know of the client.
    params: JsonMap,
}

impl Credentials {
    /// Reads `credentials`.
    fn read(field: &str, mut given: JsonMap) -> Result<Self> {
        let mut checks = Checks::default();
        let mut text = |names: [&str; 2]| {
            let at = format!("{field}.{}", names[0]);
            let value = names.into_iter().find_map(|name| given.remove(name))?;
            let Value::String(text) = value else {
                checks.require(value.is_null(), &at, "must be a text");
                return None;
            };
            checks.text(&at, &text, 1, MAX_CREDENTIAL);
            Some(text)
        };
        let client_id = text(["client_id", "clientId"]);
        let client_secret = text(["client_secret", "clientSecret"]);
        let scopes = match given.remove("scopes") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let read = read_scopes(&value);
                let at = format!("{field}.scopes");
                checks.require(read.is_some(), &at, "must be a text or a list of texts");
                read
            }
        };
        checks.plain_values(field, &given);
        checks.json_size(field, &given, 16 * 1024);
        checks.finish()?;
        Ok(Self {
            client_id,
            client_secret: client_secret.map(SecretString::from),
            scopes,
            params: given,
        })
    }
}

/// Scopes as a text with spaces or commas between them, or as a list.
fn read_scopes(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => {
            let scopes = text.split([' ', ',']).filter(|scope| !scope.is_empty());
            Some(scopes.map(str::to_owned).collect())
        }
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn check_scopes(provider: &Provider, field: &str, scopes: &[String]) -> Result<()> {
    let fits = provider.scopes_for(scopes, &[]);
    fits.map(drop)
        .map_err(|error| ApiError::field(field, error.to_string()))
}

/// Tools of this toolkit, upper case; `None` for no restriction.
fn check_tools(toolkit: Toolkit<'_>, field: &str, tools: &[String]) -> Result<Option<Vec<String>>> {
    if tools.len() > MAX_TOOLS {
        return Err(ApiError::field(
            field,
            format!("must be at most {MAX_TOOLS}"),
        ));
    }
    let known = tool::of_toolkit(toolkit);
    let mut read = Vec::new();
    for name in tools {
        let found = known.iter().find(|tool| tool.is_named(name));
        let found = found.ok_or_else(|| {
            let shown: String = name.chars().take(80).collect();
            ApiError::field(field, format!("'{shown}' is no tool of {}", toolkit.slug()))
        })?;
        read.push(found.slug());
    }
    Ok(Some(read).filter(|tools| !tools.is_empty()))
}
