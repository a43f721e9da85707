//! `POST /operator/partners`: a partner and its first key.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{PartnerId, states::PartnerStatus};
use latchkey_store::{JsonMap, PartnerRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_plan;
use crate::{
    audit::{self, Change},
    check::Checks,
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    routes::{
        partner::{ConfirmationSetting, Profile, check_profile},
        partner_keys::{self, MadeKey, NewKey},
        redirect_urls::check_urls,
    },
    state::Api,
};

/// The partner to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPartner {
    /// Company, 1–255 characters.
    company: String,
    /// Website.
    website: String,
    /// Whom to write to.
    contact_email: Option<String>,
    /// What it builds, at most 1,000 characters.
    use_case: Option<String>,
    /// A plan of the settings; `free` by default.
    #[serde(default = "free")]
    plan: String,
    /// Where its users' browsers may be sent back to.
    #[serde(default)]
    redirect_urls: Vec<String>,
    /// Who completes its connect sessions; `none` by default.
    confirmation: Option<ConfirmationSetting>,
}

fn free() -> String {
    "free".to_owned()
}

/// A new partner with its first key.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadePartner {
    /// The partner.
    partner: Profile,
    /// Its first live key, shown this once.
    api_key: MadeKey,
}

/// Make a partner
#[utoipa::path(post, path = "/operator/partners", tag = "partners", request_body = NewPartner,
    responses((status = 200, body = Envelope<MadePartner>)))]
pub(crate) async fn create_partner(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Body(body): Body<NewPartner>,
) -> Result<Reply<MadePartner>> {
    let mut checks = Checks::default();
    let (company, website) = (Some(body.company.as_str()), Some(body.website.as_str()));
    let (email, use_case) = (body.contact_email.as_deref(), body.use_case.as_deref());
    check_profile(&mut checks, company, website, email, use_case);
    check_plan(&api, &mut checks, Some(&body.plan));
    check_urls(&mut checks, &body.redirect_urls);
    checks.finish()?;
    let now = api.ctx.now();
    let row = PartnerRow {
        id: PartnerId::new(now, &*api.ctx.entropy),
        company: body.company,
        website: body.website,
        contact_email: body.contact_email,
        use_case: body.use_case,
        plan: body.plan,
        status: PartnerStatus::Active,
        confirmation: body
            .confirmation
            .unwrap_or(ConfirmationSetting::None)
            .into(),
        redirect_urls: body.redirect_urls,
        created_at: now,
        updated_at: now,
    };
    api.ctx.store.insert_partner(&row).await?;
    let api_key = partner_keys::make(&api, row.id, NewKey::default()).await?;
    let change = Change {
        partner: row.id,
        action: "partner.create",
        subject: &row.id.to_string(),
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(MadePartner {
        partner: row.into(),
        api_key,
    }))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_partner_comes_with_a_key_that_works() {
        let api = TestApi::new().await;
        let body = json!({"company": "Acme", "website": "https://acme.example", "plan": "pro",
            "contact_email": "it@acme.example", "use_case": "Mail", "confirmation": "partner",
            "redirect_urls": ["https://acme.example/cb"]});
        let made = api.operator().post("/operator/partners", body).await;
        insta::assert_snapshot!(made.shown(), @r#"
        200 OK
        {
          "data": {
            "api_key": {
              "created_at": "2026-11-21T20:00:00.000Z",
              "id": "key_<id>",
              "key": "sk_live_<key>",
              "last_used_at": null,
              "mode": "live",
              "name": null,
              "prefix": "sk_live_<key>",
              "revoked_at": null
            },
            "partner": {
              "company": "Acme",
              "confirmation": "partner",
              "contact_email": "it@acme.example",
              "created_at": "2026-11-21T20:00:00.000Z",
              "id": "prt_<id>",
              "plan": "pro",
              "redirect_urls": [
                "https://acme.example/cb"
              ],
              "status": "active",
              "updated_at": "2026-11-21T20:00:00.000Z",
              "use_case": "Mail",
              "website": "https://acme.example"
            }
          },
          "ok": true
        }
        "#);
        let key = made.data()["api_key"]["key"].as_str().unwrap().to_owned();
        let client = api.anyone().with("x-api-key", &key);
        assert_eq!(
            client.get("/api/v1/partner").await.data(),
            made.data()["partner"]
        );
    }

    #[tokio::test]
    async fn asked_twice_with_one_idempotency_key_it_is_made_once() {
        let api = TestApi::new().await;
        let operator = api.operator().with("idempotency-key", "acme-1");
        let body = json!({"company": "Acme", "website": "https://acme.example"});
        let first = operator.post("/operator/partners", body.clone()).await;
        let again = operator.post("/operator/partners", body).await;
        assert_eq!(again.data(), first.data());
        let listed = api.operator().get("/operator/partners").await.data();
        assert_eq!(listed["partners"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn wrong_fields_are_named_and_nothing_is_made() {
        let api = TestApi::new().await;
        let body = json!({"company": "A".repeat(256), "website": "acme", "plan": "gold",
            "redirect_urls": ["http://acme.example"]});
        insta::assert_snapshot!(api.operator().post("/operator/partners", body).await.shown(), @r#"
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
              "field": "plan",
              "problem": "must be one of enterprise, free, pro"
            },
            {
              "field": "redirect_urls[0]",
              "problem": "must be https unless its host is localhost or a loopback address"
            }
          ],
          "error": "company must be 1 to 255 characters (and 3 more; see details)",
          "error_code": "INVALID_REQUEST",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        let missing = api
            .operator()
            .post("/operator/partners", json!({"company": "Acme"}))
            .await;
        assert_eq!(missing.json()["details"][0]["field"], "website");
        assert_eq!(
            api.operator().get("/operator/partners").await.data()["partners"],
            json!([])
        );
        let anyone = api.partner("Acme").await.client;
        assert_eq!(
            anyone.get("/operator/partners").await.status,
            StatusCode::NOT_FOUND
        );
    }
}
