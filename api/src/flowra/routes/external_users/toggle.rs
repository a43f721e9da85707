//! `PUT /external-users/{id}/toggle-active`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::AccountId;

use super::ExternalUser;
use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Id, Path, id},
    flowra::shape::{Bare, One},
    reach::DEFAULT_ACCOUNT,
    reply::Result,
    state::Api,
};

/// Switch an external user on or off
///
/// It becomes what it is not. An inactive one cannot be named by `x-username`. The default user stays active.
#[utoipa::path(put, path = "/api/v1/external-users/{external_user_id}/toggle-active",
    tag = "flowra: external users",
    params(("external_user_id" = String, Path, description = "Its id", example = "019aa000-0000-7000-8000-000000000000")),
    responses((status = 200, body = One<ExternalUser>)))]
pub(crate) async fn toggle_external_user(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(user): Path<String>,
) -> Result<Bare<One<ExternalUser>>> {
    let missing = || ApiError::not_found("external user");
    let account: AccountId = id(&user, "external user")?;
    let store = &api.ctx.store;
    let found = store
        .find_end_users(partner.id, &[account])
        .await?
        .pop()
        .ok_or_else(missing)?;
    if found.account.external_id == DEFAULT_ACCOUNT {
        let said = "The default user cannot be switched off: it acts where no user is named.";
        return Err(ApiError::new(Code::Conflict, said));
    }
    let now = api.ctx.now();
    if !store
        .set_end_user_active(partner.id, account, !found.active, now)
        .await?
    {
        return Err(missing());
    }
    audit::by_partner(&api, &partner, request_id, "account.update", &user).await;
    let changed = store
        .find_end_users(partner.id, &[account])
        .await?
        .pop()
        .ok_or_else(missing)?;
    Ok(One::of(ExternalUser::from(changed)))
}
