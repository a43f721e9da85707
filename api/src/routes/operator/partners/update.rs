//! `PATCH /operator/partners/{id}`: plan, status, redirect URLs.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::states::PartnerStatus;
use latchkey_store::{JsonMap, PartnerRow};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::check_plan;
use crate::{
    audit::{self, Change},
    check::Checks,
    error::{ApiError, Code},
    extract::{Body, Id, Path},
    reply::{Envelope, Reply, Result},
    routes::{operator::find_partner, partner::Profile, redirect_urls::check_urls},
    state::Api,
};

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdatePartner {
    /// A plan of the settings.
    plan: Option<String>,
    /// `active`, `suspended` (every call answers 403) or `past_due` (401).
    #[schema(value_type = Option<String>, example = "suspended")]
    status: Option<PartnerStatus>,
    /// Replaces its redirect URLs.
    redirect_urls: Option<Vec<String>>,
}

/// Change a partner's plan, status or redirect URLs
#[utoipa::path(patch, path = "/operator/partners/{partner_id}", tag = "partners", request_body = UpdatePartner,
    params(("partner_id" = String, Path, description = "Its id (`prt_…`)")),
    responses((status = 200, body = Envelope<Profile>)))]
pub(crate) async fn update_partner(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(partner): Path<String>,
    Body(body): Body<UpdatePartner>,
) -> Result<Reply<Profile>> {
    let mut checks = Checks::default();
    check_plan(&api, &mut checks, body.plan.as_deref());
    check_urls(
        &mut checks,
        body.redirect_urls.as_deref().unwrap_or_default(),
    );
    checks.finish()?;
    let row = find_partner(&api, &partner).await?;
    let details = apply(&api, &row, &body).await?;
    api.keys.changed();
    let change = Change {
        partner: row.id,
        action: "partner.update",
        subject: &partner,
        details,
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(find_partner(&api, &partner).await?.into()))
}

/// Writes what was given; returns what to note of it.
async fn apply(api: &Api, row: &PartnerRow, body: &UpdatePartner) -> Result<JsonMap> {
    let (store, now) = (&api.ctx.store, api.ctx.now());
    let mut details = JsonMap::new();
    if let Some(status) = body.status.filter(|status| *status != row.status) {
        if !store.set_partner_status(row.id, status, now).await? {
            return Err(ApiError::new(
                Code::Conflict,
                format!("A partner that is {} cannot become {status}.", row.status),
            ));
        }
        details.insert("status".to_owned(), Value::from(status.as_str()));
    }
    if let Some(plan) = &body.plan {
        store.set_partner_plan(row.id, plan, now).await?;
        details.insert("plan".to_owned(), Value::from(plan.as_str()));
    }
    if let Some(urls) = &body.redirect_urls {
        store.replace_redirect_urls(row.id, urls, now).await?;
        details.insert("redirect_urls".to_owned(), Value::from(urls.len()));
    }
    Ok(details)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_suspension_shows_at_once_and_is_taken_back() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        acme.client.get("/api/v1/partner").await.data();
        let path = format!("/operator/partners/{}", acme.id);
        let operator = api.operator();
        for (status, code) in [
            ("past_due", "PAYMENT_PAST_DUE"),
            ("suspended", "PARTNER_SUSPENDED"),
        ] {
            assert_eq!(
                operator
                    .patch(&path, json!({"status": status}))
                    .await
                    .data()["status"],
                status
            );
            let refused = acme.client.get("/api/v1/partner").await;
            assert_eq!(refused.code(), code);
            // The key is valid all the same.
            assert_eq!(refused.header("x-ratelimit-limit"), "1000");
        }
        let impossible = operator.patch(&path, json!({"status": "past_due"})).await;
        insta::assert_snapshot!(impossible.shown(), @r#"
        409 Conflict
        {
          "error": "A partner that is suspended cannot become past_due.",
          "error_code": "CONFLICT",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        operator
            .patch(&path, json!({"status": "active"}))
            .await
            .data();
        acme.client.get("/api/v1/partner").await.data();
    }

    #[tokio::test]
    async fn a_plan_changes_the_limits() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let path = format!("/operator/partners/{}", acme.id);
        let limits = |plan: &'static str| {
            let (operator, client, path) = (api.operator(), acme.client.clone(), path.clone());
            async move {
                operator.patch(&path, json!({"plan": plan})).await.data();
                let answer = client.get("/api/v1/partner").await;
                ["limit", "remaining", "minute-limit", "minute-remaining"]
                    .map(|name| answer.header(&format!("x-ratelimit-{name}")).to_owned())
            }
        };
        assert_eq!(limits("free").await, ["1000", "1000", "30", "30"]);
        assert_eq!(limits("pro").await, ["100000", "100000", "300", "300"]);
        assert_eq!(limits("enterprise").await, ["-1", "-1", "1000", "1000"]);
        let unknown = api.operator().patch(&path, json!({"plan": "gold"})).await;
        assert_eq!(unknown.json()["details"][0]["field"], "plan");
    }
}
