//! What the sandbox says about itself: a front page for people and the metadata of RFC 8414 for programs.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{routes::authorize::SCOPES, state::Shared};

/// `GET /`.
pub(crate) async fn front(State(shared): State<Arc<Shared>>) -> String {
    format!(
        "Latchkey sandbox: an OAuth 2.0 provider that holds nothing real.\n\n\
         Metadata  {base}/.well-known/oauth-authorization-server\n\
         API       {base}/api/me  /api/messages  /api/echo/…\n\
         Admin     {base}/sandbox/counters  /settings  /faults  /clients  /grants  /events\n",
        base = shared.base_url
    )
}

/// `GET /.well-known/oauth-authorization-server`.
pub(crate) async fn metadata(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let base = &shared.base_url;
    let auth = ["client_secret_basic", "client_secret_post"];
    Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": auth,
        "revocation_endpoint_auth_methods_supported": auth,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}
