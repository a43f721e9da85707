//! Permissions and scopes: what a session asks for, and what a grant allows.

use std::collections::BTreeMap;

use ::http::Method;
use latchkey_oauth::OauthSpec;
use serde_json::{Map, Value};

use crate::entry::{Permission, Provider, Service};

/// A scope or permission that cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not a scope by RFC 6749 §3.3.
    #[error("'{0}' is not a scope")]
    NotAScope(String),
    /// Not a service or permission of this provider.
    #[error("'{0}' is not a service or permission of this provider")]
    Unknown(String),
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
    /// The protocol for an auth config with these parameters (`app_kind` picks one of several).
    pub fn spec(&self, app_params: &Map<String, Value>) -> &OauthSpec {
        app_params
            .get("app_kind")
            .and_then(Value::as_str)
            .and_then(|kind| self.kinds.get(kind))
            .unwrap_or(&self.oauth)
    }

    /// Checks the parameters of an auth config and fills in defaults.
    pub fn check_app_params(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ParamError> {
        let _ = given;
        unimplemented!()
    }

    /// Checks the parameters of a session and fills in defaults.
    pub fn check_connection_params(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ParamError> {
        let _ = given;
        unimplemented!()
    }

    /// The provider's scopes to ask for. `scopes` mixes permission ids and the provider's own scopes;
    /// `services` names services or permission ids. With both empty: the default permissions. The base
    /// scopes always come first.
    pub fn scopes_for(
        &self,
        scopes: &[String],
        services: &[String],
    ) -> Result<Vec<String>, ScopeError> {
        let _ = (scopes, services);
        unimplemented!()
    }

    /// Which permissions a grant with these scopes allows: `enabled_services` of a new connection, by
    /// permission id.
    pub fn granted(&self, scopes: &[String]) -> BTreeMap<String, bool> {
        let _ = scopes;
        unimplemented!()
    }

    /// The service of this slug.
    pub fn service(&self, slug: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.slug == slug)
    }
}

impl Service {
    /// The permissions of which one is enough for a raw call with this method.
    pub fn raw_permissions(&self, method: &Method) -> impl Iterator<Item = &Permission> {
        let _ = method;
        self.permissions.iter()
    }
}
