//! [`Face`]: which of the two public APIs a request speaks. It decides how answers and refusals are shaped, and
//! nothing else.

use axum::extract::FromRequestParts;
use form_urlencoded::parse;
use http::{HeaderMap, Uri, request::Parts};

use crate::error::ApiError;

/// A public API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Face {
    /// `{"ok":true,"data":…}`.
    #[default]
    Supyagent,
    /// Flowra's own shapes.
    Flowra,
}

/// Paths that are Flowra's alone, below `/api/v1/`.
const FLOWRA: &[&str] = &[
    "auth_configs",
    "connected_accounts",
    "external-users",
    "toolkits",
    "tools/byId",
    "tools/execute",
    "usage/balance",
];
/// Paths of both.
const SHARED: &[&str] = &["tools", "usage"];
/// Parameters of the shared paths that only Flowra has.
const PARAMETERS: &[&str] = &[
    "authConfigIds",
    "category",
    "cursor",
    "eUID",
    "executionId",
    "fields",
    "important",
    "includeDeprecated",
    "kind",
    "limit",
    "offset",
    "page",
    "projectId",
    "provider",
    "q",
    "scopes",
    "search",
    "sortBy",
    "sortOrder",
    "tags",
    "threadId",
    "toolSlugs",
    "toolkitSlug",
    "toolkitVersions",
    "type",
    "workflowId",
];

impl Face {
    /// The face of a request.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let Some(path) = uri.path().strip_prefix("/api/v1/") else {
            return Self::Supyagent;
        };
        let below = |prefix: &&str| {
            let rest = path.strip_prefix(*prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if FLOWRA.iter().any(below) {
            return Self::Flowra;
        }
        let query = uri.query().unwrap_or_default().as_bytes();
        let asks = headers.contains_key("x-api-key")
            || headers.contains_key("x-username")
            || parse(query).any(|(name, _)| PARAMETERS.contains(&&*name));
        if asks && SHARED.contains(&path) {
            Self::Flowra
        } else {
            Self::Supyagent
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Face {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.uri, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_paths_go_by_key_user_and_parameters() {
        let face = |path: &str, header: &str| {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(
                    http::HeaderName::try_from(header).unwrap(),
                    "x".parse().unwrap(),
                );
            }
            Face::of(&path.parse().unwrap(), &headers)
        };
        for path in [
            "/api/v1/connected_accounts",
            "/api/v1/connected_accounts/x/refresh",
            "/api/v1/auth_configs/ac_1",
            "/api/v1/tools/execute/GMAIL_SEND_EMAIL",
            "/api/v1/tools?toolkitSlug=gmail",
            "/api/v1/usage?page=1",
            "/api/v1/usage/balance",
        ] {
            assert_eq!(face(path, "authorization"), Face::Flowra, "{path}");
        }
        for path in [
            "/api/v1/tools",
            "/api/v1/tools?all=true",
            "/api/v1/usage?from=2026-11-01",
            "/api/v1/tools/search/mail?limit=3",
            "/api/v1/accounts?limit=3",
            "/api/v1/connected",
            "/health",
            "/api/v1/usage/statement",
        ] {
            assert_eq!(face(path, "authorization"), Face::Supyagent, "{path}");
        }
        assert_eq!(face("/api/v1/tools", "x-api-key"), Face::Flowra);
        assert_eq!(face("/api/v1/usage", "x-username"), Face::Flowra);
        assert_eq!(face("/api/v1/accounts", "x-api-key"), Face::Supyagent);
    }
}
