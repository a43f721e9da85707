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
