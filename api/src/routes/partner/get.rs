//! `GET /partner`: the profile, as it stands now.

use std::sync::Arc;

use axum::extract::State;

use super::Profile;
use crate::{
    auth::Partner,
    error::ApiError,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Your profile
#[utoipa::path(get, path = "/api/v1/partner", tag = "partner",
    responses((status = 200, body = Envelope<Profile>)))]
pub(crate) async fn get_partner(
    State(api): State<Arc<Api>>,
    partner: Partner,
) -> Result<Reply<Profile>> {
    let row = api.ctx.store.get_partner(partner.id).await?;
    Ok(Reply(
        row.ok_or_else(|| ApiError::not_found("partner"))?.into(),
    ))
}
