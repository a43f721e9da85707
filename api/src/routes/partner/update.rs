//! `PATCH /partner`: changes the profile. Plan and status are the operator's.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::PartnerChange;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{ConfirmationSetting, Profile, check_profile};
use crate::{
    audit,
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::{Body, Id, nullable},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdatePartner {
    /// Company, 1–255 characters.
    company: Option<String>,
    /// Website.
    website: Option<String>,
    /// Whom to write to; `null` clears it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    contact_email: Option<Option<String>>,
    /// What you build, at most 1,000 characters; `null` clears it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    use_case: Option<Option<String>>,
    /// The default of new connect sessions.
    confirmation: Option<ConfirmationSetting>,
}

impl UpdatePartner {
    /// Checks it and turns it into the store's change.
    pub(crate) fn into_change(self) -> std::result::Result<PartnerChange, ApiError> {
        let mut checks = Checks::default();
        let inner = |value: &Option<Option<String>>| value.clone().flatten();
        check_profile(
            &mut checks,
            self.company.as_deref(),
            self.website.as_deref(),
            inner(&self.contact_email).as_deref(),
            inner(&self.use_case).as_deref(),
        );
        checks.finish()?;
        Ok(PartnerChange {
            company: self.company,
            website: self.website,
            contact_email: self.contact_email,
            use_case: self.use_case,
            confirmation: self.confirmation.map(Into::into),
        })
    }
}

/// Change your profile
#[utoipa::path(patch, path = "/api/v1/partner", tag = "partner", request_body = UpdatePartner,
    responses((status = 200, body = Envelope<Profile>)))]
pub(crate) async fn update_partner(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Body(body): Body<UpdatePartner>,
) -> Result<Reply<Profile>> {
    partner.may_change("your profile")?;
    let change = body.into_change()?;
    let row = api
        .ctx
        .store
        .update_partner(partner.id, &change, api.ctx.now())
        .await?;
    let row = row.ok_or_else(|| ApiError::not_found("partner"))?;
    api.keys.changed();
    audit::by_partner(
        &api,
        &partner,
        id,
        "partner.update",
        &partner.id.to_string(),
    )
    .await;
    Ok(Reply(row.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn what_is_left_out_stays_and_null_clears() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let change = json!({"company": "Acme AG", "contact_email": "it@acme.example",
            "use_case": "Calendars.\nAnd mail.", "confirmation": "partner"});
        let changed = acme.client.patch("/api/v1/partner", change).await.data();
        assert_eq!(changed["contact_email"], "it@acme.example");
        assert_eq!(changed["confirmation"], "partner");
        let cleared = acme
            .client
            .patch("/api/v1/partner", json!({"contact_email": null}))
            .await;
        let cleared = cleared.data();
        assert_eq!(cleared["contact_email"], json!(null));
        assert_eq!(cleared["use_case"], "Calendars.\nAnd mail.");
        assert_eq!(acme.client.get("/api/v1/partner").await.data(), cleared);
    }

    #[tokio::test]
    async fn a_test_key_changes_nothing_that_live_users_meet() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let made = acme
            .client
            .post("/api/v1/partner/keys", json!({"mode": "test"}));
        let key = made.await.data()["key"].as_str().unwrap().to_owned();
        let test = api.anyone().with("x-api-key", &key);
        let change = test.patch("/api/v1/partner", json!({"company": "Evil"}));
        assert_eq!(change.await.code(), "TEST_KEY_ONLY_SANDBOX");
        let urls = json!({"redirect_urls": ["https://evil.example/cb"]});
        let replaced = test.put("/api/v1/partner/redirect_urls", urls);
        assert_eq!(replaced.await.code(), "TEST_KEY_ONLY_SANDBOX");
        let profile = acme.client.get("/api/v1/partner").await.data();
        assert_eq!(profile["company"], "Acme");
    }

    #[tokio::test]
    async fn every_wrong_field_is_named_at_once() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let change = json!({"company": "", "website": "ftp://acme.example", "contact_email": "nobody",
            "use_case": "x".repeat(1001)});
        let refused = acme.client.patch("/api/v1/partner", change).await;
        insta::assert_snapshot!(refused.shown(), @r#"
        400 Bad Request
        {
          "details": [
            {
              "field": "company",
              "problem": "must be 1 to 255 characters"
            },
            {
              "field": "website",
              "problem": "must be a web address such as https://example.com"
            },
            {
              "field": "contact_email",
              "problem": "must be an email address"
            },
            {
              "field": "use_case",
              "problem": "must be at most 1000 characters"
            }
          ],
          "error": "company must be 1 to 255 characters (and 3 more; see details)",
          "error_code": "INVALID_REQUEST",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        for body in [
            json!({"plan": "pro"}),
            json!({"status": "active"}),
            json!({"confirmation": "maybe"}),
        ] {
            assert_eq!(
                acme.client.patch("/api/v1/partner", body).await.code(),
                "INVALID_REQUEST"
            );
        }
    }
}
