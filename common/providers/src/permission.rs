//! Permissions, scopes and parameters: what a session may ask for, and what a grant allows.

use std::collections::BTreeMap;

use ::http::Method;
use latchkey_oauth::{OauthSpec, answer::host_is_below, pattern, spec::Callback};
use serde_json::{Map, Value};

use crate::entry::{Param, Permission, PermissionKind, Provider, Service};

/// The parameter of an auth config that picks one of a provider's kinds of application.
pub const APP_KIND: &str = "app_kind";

/// Most scopes of one session.
const MAX_SCOPES: usize = 100;

/// Longest value of a parameter, in bytes.
const PARAM_BYTES: usize = 2048;

/// A scope or permission that cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not a scope by RFC 6749 §3.3, or one with a comma, which some providers take for two.
    #[error("'{0}' is not a scope")]
    NotAScope(String),
    /// Not a service or permission of this provider.
    #[error("'{0}' is not a service or permission of this provider")]
    Unknown(String),
    /// Too many.
    #[error("more than {MAX_SCOPES} scopes are asked for")]
    TooMany,
}

/// A parameter of an auth config or a session that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// It is required and missing.
    #[error("'{0}' is required for this provider")]
    Missing(String),
    /// The provider does not know it.
    #[error("'{0}' is not a parameter of this provider")]
    Unknown(String),
    /// Its value does not fit.
    #[error("the value of '{0}' does not fit")]
    Invalid(String),
}

impl Provider {
    /// The protocol for an auth config with these parameters: `app_kind` picks one of several, the first is
    /// the default.
    pub fn spec(&self, app_params: &Map<String, Value>) -> &OauthSpec {
        let named = app_params.get(APP_KIND).and_then(Value::as_str);
        named
            .or_else(|| self.app_kinds.first().map(|kind| kind.name.as_str()))
            .and_then(|kind| self.kinds.get(kind))
            .unwrap_or(&self.oauth)
    }

    /// Checks the parameters of an auth config and fills in defaults.
    pub fn check_app_params(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ParamError> {
        let mut given = given.clone();
        let kind = given.remove(APP_KIND);
        let mut checked = check_params(&self.app_params, &given)?;
        match (kind, self.app_kinds.first()) {
            (None, None) => {}
            (Some(_), None) => return Err(ParamError::Unknown(APP_KIND.to_owned())),
            (None, Some(first)) => {
                checked.insert(APP_KIND.to_owned(), first.name.clone().into());
            }
            (Some(kind), Some(_)) => {
                if !kind
                    .as_str()
                    .is_some_and(|kind| self.kinds.contains_key(kind))
                {
                    return Err(ParamError::Invalid(APP_KIND.to_owned()));
                }
                checked.insert(APP_KIND.to_owned(), kind);
            }
        }
        Ok(checked)
    }

    /// Checks the parameters of a session and fills in defaults.
    pub fn check_connection_params(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ParamError> {
        check_params(&self.connection_params, given)
    }

    /// The provider's scopes to ask for. `scopes` mixes permission ids and the provider's own scopes;
    /// `services` names services (their default permissions, or all that read) or permission ids. With both
    /// empty: the default permissions. The base scopes always come first.
    pub fn scopes_for(
        &self,
        scopes: &[String],
        services: &[String],
    ) -> Result<Vec<String>, ScopeError> {
        let mut asked = self.base_scopes.clone();
        if scopes.is_empty() && services.is_empty() {
            let defaults = self.permissions().filter(|permission| permission.default);
            asked.extend(defaults.flat_map(|permission| permission.scopes.clone()));
        }
        for name in services {
            if let Some(service) = self.service(name) {
                asked.extend(service.usual_scopes());
            } else if let Some(permission) = self.permission(name) {
                asked.extend(permission.scopes.clone());
            } else {
                return Err(ScopeError::Unknown(name.clone()));
            }
        }
        for name in scopes {
            match self.permission(name) {
                Some(permission) => asked.extend(permission.scopes.clone()),
                None if is_scope(name) => asked.push(name.clone()),
                None => return Err(ScopeError::NotAScope(name.clone())),
            }
        }
        let mut unique: Vec<String> = Vec::new();
        for scope in asked {
            if !unique.contains(&scope) {
                unique.push(scope);
            }
        }
        if unique.len() > MAX_SCOPES {
            return Err(ScopeError::TooMany);
        }
        Ok(unique)
    }

    /// Which permissions a grant with these scopes allows, by id: the `enabled_services` of a new connection.
    /// Where the kind of application knows no scopes, all of them: the provider decides at each call.
    pub fn granted(&self, spec: &OauthSpec, scopes: &[String]) -> BTreeMap<String, bool> {
        let scopes = &comparable(spec, scopes);
        let scopeless = spec
            .authorize
            .drop_params
            .iter()
            .any(|param| param == "scope");
        let holds = |scope: &String| scopes.contains(scope);
        self.permissions()
            .map(|permission| {
                let granted = scopeless
                    || permission.scopes.iter().all(holds)
                    || permission.implied_by.iter().any(holds);
                (permission.id.clone(), granted)
            })
            .collect()
    }

    /// The service of this slug.
    pub fn service(&self, slug: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.slug == slug)
    }

    /// The permission of this id.
    pub fn permission(&self, id: &str) -> Option<&Permission> {
        self.permissions().find(|permission| permission.id == id)
    }

    /// Every permission of every service.
    pub fn permissions(&self) -> impl Iterator<Item = &Permission> {
        self.services
            .iter()
            .flat_map(|service| &service.permissions)
    }
}

/// Granted scopes as the entry writes them: where a class of scopes is another word for asking (HubSpot's
/// optional ones), what was granted bears no such word.
fn comparable(spec: &OauthSpec, scopes: &[String]) -> Vec<String> {
    let mut all = scopes.to_vec();
    let told = |prefix: &String| {
        let mut classes = spec.response.tokens.iter();
        classes.any(|class| class.scope_prefix == *prefix)
    };
    for prefix in spec.authorize.scope_classes.values().filter(|p| !told(p)) {
        all.extend(scopes.iter().map(|scope| format!("{prefix}{scope}")));
    }
    all
}

/// A callback that lacks what the entry captures of it, or brings what does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the callback's '{0}' is missing or does not fit")]
pub struct CaptureError(pub String);

/// What a callback brings besides the code, by the names under which it is kept with the connection.
pub fn captured(
    callback: &Callback,
    query: &[(String, String)],
) -> Result<Map<String, Value>, CaptureError> {
    let mut kept = Map::new();
    for (name, capture) in &callback.capture {
        let mut given = query.iter().filter(|(known, _)| *known == capture.query);
        let wrong = || CaptureError(capture.query.clone());
        match (given.next(), given.next()) {
            (None, _) if capture.required => return Err(wrong()),
            (None, _) => {}
            (Some((_, value)), None) if fits(&capture.regex, value) => {
                kept.insert(name.clone(), value.clone().into());
            }
            // Twice, or not what it must be.
            (Some(_), _) => return Err(wrong()),
        }
    }
    Ok(kept)
}

fn fits(pattern: &str, value: &str) -> bool {
    value.len() <= PARAM_BYTES && pattern::whole(pattern).is_ok_and(|whole| whole.is_match(value))
}

impl Service {
    /// The permissions of which one is enough for a raw call with this method: those that read for GET and
    /// HEAD, those that act for everything else.
    pub fn raw_permissions(&self, method: &Method) -> impl Iterator<Item = &Permission> {
        let needed = if method.is_safe() {
            PermissionKind::Read
        } else {
            PermissionKind::Write
        };
        self.permissions
            .iter()
            .filter(move |permission| permission.kind == needed)
    }

    fn usual_scopes(&self) -> Vec<String> {
        let any_default = self.permissions.iter().any(|permission| permission.default);
        let usual = |permission: &&Permission| {
            if any_default {
                permission.default
            } else {
                permission.kind == PermissionKind::Read
            }
        };
        self.permissions
            .iter()
            .filter(usual)
            .flat_map(|permission| permission.scopes.clone())
            .collect()
    }
}

/// A scope-token of RFC 6749 §3.3, without comma.
pub(crate) fn is_scope(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(plain)
}

fn check_params(
    declared: &[Param],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, ParamError> {
    if let Some(unknown) = given
        .keys()
        .find(|name| !declared.iter().any(|p| p.name == **name))
    {
        return Err(ParamError::Unknown(unknown.clone()));
    }
    let mut checked = Map::new();
    for param in declared {
        let value = match given.get(&param.name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null) | None => param
                .default
                .clone()
                .ok_or_else(|| ParamError::Missing(param.name.clone()))?,
            Some(_) => return Err(ParamError::Invalid(param.name.clone())),
        };
        if !param.takes(&value) {
            return Err(ParamError::Invalid(param.name.clone()));
        }
        checked.insert(param.name.clone(), value.into());
    }
    Ok(checked)
}

impl Param {
    /// Whether a value fits.
    pub fn takes(&self, value: &str) -> bool {
        value.len() <= PARAM_BYTES
            && !value.chars().any(char::is_control)
            && self
                .pattern()
                .is_none_or(|pattern| pattern.is_ok_and(|p| p.is_match(value)))
            && (self.host_suffix_allow.is_empty()
                || (!value.contains("://") && host_is_below(value, &self.host_suffix_allow)))
    }

    /// The pattern for the whole value.
    pub(crate) fn pattern(&self) -> Option<Result<regex::Regex, regex::Error>> {
        let text = self.regex.as_ref()?;
        Some(pattern::whole(text))
    }
}
