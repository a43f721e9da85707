//! The table of routes, by audience: OAuth, the protected API, and the admin side of tests.

pub(crate) mod admin;
pub(crate) mod api;
pub(crate) mod authorize;
pub(crate) mod decision;
pub(crate) mod echo;
pub(crate) mod grants;
pub(crate) mod messages;
pub(crate) mod metadata;
pub(crate) mod revoke;
pub(crate) mod token;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{any, get, post},
};

use crate::{
    dialect::dialect,
    limits::{MAX_ADMIN_BODY, MAX_API_BODY, MAX_FORM},
    state::Shared,
};

/// All routes over one state.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let oauth = Router::new()
        .route("/", get(metadata::front))
        .route(
            "/.well-known/oauth-authorization-server",
            get(metadata::metadata),
        )
        .route("/oauth/authorize", get(authorize::authorize))
        .route("/oauth/authorize/decision", post(decision::decide))
        .route("/oauth/token", post(token::token))
        .route("/oauth/revoke", post(revoke::revoke))
        .layer(DefaultBodyLimit::max(MAX_FORM));
    let api = Router::new()
        .route("/api/me", get(api::me))
        .route("/api/messages", get(messages::list).post(messages::write))
        .route("/api/messages/{id}", get(messages::read))
        .route("/api/echo", any(echo::echo))
        .route("/api/echo/{*path}", any(echo::echo))
        .route_layer(from_fn_with_state(shared.clone(), api::gate))
        .layer(DefaultBodyLimit::max(MAX_API_BODY));
    let admin = Router::new()
        .route("/sandbox/counters", get(admin::counters))
        .route("/sandbox/counters/reset", post(admin::reset_counters))
        .route("/sandbox/wait", get(admin::wait))
        .route("/sandbox/events", get(admin::events))
        .route(
            "/sandbox/settings",
            get(admin::settings).put(admin::change_settings),
        )
        .route(
            "/sandbox/faults",
            get(admin::faults)
                .post(admin::add_fault)
                .delete(admin::clear_faults),
        )
        .route(
            "/sandbox/clients",
            get(admin::clients).post(admin::register_client),
        )
        .route("/sandbox/grants", get(grants::list))
        .route("/sandbox/grants/seed", post(grants::seed))
        .route("/sandbox/grants/revoke-all", post(grants::revoke_all))
        .route("/sandbox/grants/expire-access", post(grants::expire_access))
        .layer(DefaultBodyLimit::max(MAX_ADMIN_BODY));
    oauth
        .merge(api)
        .merge(admin)
        .fallback(dialect)
        .with_state(shared)
}
