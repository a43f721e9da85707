//! `GET /partner/redirect_urls`.

use std::sync::Arc;

use axum::extract::State;

use super::RedirectUrls;
use crate::{
    auth::Partner,
    error::ApiError,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Your redirect URLs
#[utoipa::path(get, path = "/api/v1/partner/redirect_urls", tag = "partner",
    responses((status = 200, body = Envelope<RedirectUrls>)))]
pub(crate) async fn get_redirect_urls(
    State(api): State<Arc<Api>>,
    partner: Partner,
) -> Result<Reply<RedirectUrls>> {
    let row = api.ctx.store.get_partner(partner.id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("partner"))?;
    Ok(Reply(RedirectUrls {
        redirect_urls: row.redirect_urls,
    }))
}
