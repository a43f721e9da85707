//! `GET /external-users/username/{username}`.

use std::sync::Arc;

use axum::extract::State;

use super::ExternalUser;
use crate::{
    auth::Partner,
    extract::Path,
    flowra::shape::{Bare, One},
    reply::Result,
    state::Api,
};

/// Find an external user by name
///
/// `data` is `null` if there is none.
#[utoipa::path(get, path = "/api/v1/external-users/username/{username}", tag = "flowra: external users",
    params(("username" = String, Path, description = "Its name", example = "user_42")),
    responses((status = 200, body = One<Option<ExternalUser>>)))]
pub(crate) async fn find_external_user(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(name): Path<String>,
) -> Result<Bare<One<Option<ExternalUser>>>> {
    // PostgreSQL knows no text with a NUL, and no name has one.
    let found = if name.contains('\0') {
        None
    } else {
        api.ctx.store.get_end_user(partner.id, &name).await?
    };
    Ok(One::of(found.map(ExternalUser::from)))
}
