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

#[cfg(test)]
mod tests {
    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_partner_sees_its_profile() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        api.partner("Other").await;
        insta::assert_snapshot!(acme.client.get("/api/v1/partner").await.shown(), @r#"
        200 OK
        {
          "data": {
            "company": "Acme",
            "confirmation": "none",
            "contact_email": null,
            "created_at": "2026-11-21T20:00:00.000Z",
            "id": "prt_<id>",
            "plan": "free",
            "redirect_urls": [
              "https://app.example.com/cb"
            ],
            "status": "active",
            "updated_at": "2026-11-21T20:00:00.000Z",
            "use_case": null,
            "website": "https://example.com"
          },
          "ok": true
        }
        "#);
    }
}
