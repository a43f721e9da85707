//! `PUT /partner/redirect_urls`: replaces the list.

use std::sync::Arc;

use axum::extract::State;

use super::{RedirectUrls, check_urls};
use crate::{
    audit,
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Replace your redirect URLs
#[utoipa::path(put, path = "/api/v1/partner/redirect_urls", tag = "partner", request_body = RedirectUrls,
    responses((status = 200, body = Envelope<RedirectUrls>)))]
pub(crate) async fn replace_redirect_urls(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Body(body): Body<RedirectUrls>,
) -> Result<Reply<RedirectUrls>> {
    let mut checks = Checks::default();
    check_urls(&mut checks, &body.redirect_urls);
    checks.finish()?;
    let now = api.ctx.now();
    if !api
        .ctx
        .store
        .replace_redirect_urls(partner.id, &body.redirect_urls, now)
        .await?
    {
        return Err(ApiError::not_found("partner"));
    }
    api.keys.changed();
    let subject = partner.id.to_string();
    audit::by_partner(&api, &partner, id, "partner.redirect_urls", &subject).await;
    Ok(Reply(body))
}
