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
