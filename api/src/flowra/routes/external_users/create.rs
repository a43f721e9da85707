//! `POST /external-users`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::EndUser;
use serde::Deserialize;
use utoipa::ToSchema;

use super::ExternalUser;
use crate::{
    auth::Partner,
    error::{ApiError, Code},
    extract::Body,
    flowra::{
        shape::{Bare, One},
        user,
    },
    reply::Result,
    state::Api,
};

/// The external user to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateExternalUser {
    /// 1 to 255 English letters, digits and `. _ @ -`, unique among your users.
    #[schema(example = "user_42")]
    name: String,
}

/// Make an external user
///
/// Not needed: `x-username` makes one on first use.
#[utoipa::path(post, path = "/api/v1/external-users", tag = "flowra: external users",
    request_body = CreateExternalUser, responses((status = 201, body = One<ExternalUser>)))]
pub(crate) async fn create_external_user(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Body(body): Body<CreateExternalUser>,
) -> Result<Bare<One<ExternalUser>>> {
    user::check_name("name", &body.name)?;
    let account = user::new(&api, &partner, &body.name);
    match api.ctx.store.insert_account(&account).await {
        Ok(()) => {}
        Err(error) if error.is_conflict() => {
            let said = "An external user with this name already exists.";
            return Err(ApiError::new(Code::AlreadyExists, said));
        }
        Err(error) => return Err(error.into()),
    }
    let made = EndUser {
        account,
        active: true,
    };
    let Bare(_, body) = One::of(ExternalUser::from(made));
    Ok(Bare::created(body))
}
