//! `/sandbox/grants`: looking at grants, making many at once, and ending them from the provider's side.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    limits::MAX_GRANT_LIST,
    routes::admin::wrong,
    seed::{self, Seed},
    state::{Shared, lock},
};

/// Which grants; all when no user is named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    user: Option<String>,
}

/// `GET /sandbox/grants`: the latest 1,000 and the number of all.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Json<Value> {
    let grants = lock(&shared.grants);
    let (page, total) = grants.list(which.user.as_deref(), MAX_GRANT_LIST);
    Json(json!({ "grants": page, "total": total }))
}

/// `POST /sandbox/grants/seed`.
pub(crate) async fn seed(State(shared): State<Arc<Shared>>, Json(seed): Json<Seed>) -> Response {
    match seed::seed(&shared, &seed) {
        Ok(made) => Json(json!({ "grants": made })).into_response(),
        Err(error) => wrong(&error),
    }
}

/// `POST /sandbox/grants/revoke-all`.
pub(crate) async fn revoke_all(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Json<Value> {
    Json(json!({ "revoked": shared.revoke_all(which.user.as_deref()) }))
}

/// `POST /sandbox/grants/expire-access`: kills access tokens before their time, the dialects' too; the API answers 401.
pub(crate) async fn expire_access(
    State(shared): State<Arc<Shared>>,
    Query(which): Query<Which>,
) -> Json<Value> {
    let user = which.user.as_deref();
    let expired = lock(&shared.grants).kill_access(user) + shared.dialects.kill_access(user);
    Json(json!({ "expired": expired }))
}
