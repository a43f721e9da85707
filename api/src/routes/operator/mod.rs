//! The operator's routes, on the admin listener: partners, their keys, OAuth clients shared with all, jobs and
//! usage. The command line uses them when a server runs.

pub(crate) mod auth_configs;
pub(crate) mod connections;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod partners;
pub(crate) mod usage;

use latchkey_domain::PartnerId;
use latchkey_store::PartnerRow;

use crate::{error::ApiError, extract::id, reply::Result, state::Api};

/// The partner that a path names. The operator's own row is none.
async fn find_partner(api: &Api, text: &str) -> Result<PartnerRow> {
    let partner = id::<PartnerId>(text, "partner")?;
    let row = api.ctx.store.get_partner(partner).await?;
    row.filter(|row| row.id != PartnerId::OPERATOR)
        .ok_or_else(|| ApiError::not_found("partner"))
}
