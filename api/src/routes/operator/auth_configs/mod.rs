//! `/operator/auth_configs`: OAuth clients that the operator shares with every partner, and those of any
//! partner. A shared client puts all partners behind one registration at the provider; give partners their
//! own where you can.

pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod update;

use latchkey_domain::PartnerId;
use latchkey_store::AuthConfigRow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    error::ApiError,
    extract::id,
    reply::Result,
    routes::{auth_configs::AuthConfig, operator::find_partner},
    state::Api,
};

/// An OAuth client and whose it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnedAuthConfig {
    #[serde(flatten)]
    config: AuthConfig,
    /// The partner it belongs to; `null` for one that all partners share.
    partner_id: Option<String>,
}

impl OwnedAuthConfig {
    fn of(owner: PartnerId, config: AuthConfig) -> Self {
        let owned = owner != PartnerId::OPERATOR;
        Self {
            config,
            partner_id: owned.then(|| owner.to_string()),
        }
    }
}

/// The config that a path names, whoever owns it.
async fn find(api: &Api, text: &str) -> Result<AuthConfigRow> {
    let row = api
        .ctx
        .store
        .resolve_callback(id(text, "auth config")?)
        .await?;
    row.ok_or_else(|| ApiError::not_found("auth config"))
}

/// Whose configs are meant: a partner's, or the operator's own.
async fn owner(api: &Api, partner: Option<&str>) -> Result<PartnerId> {
    match partner {
        Some(text) => Ok(find_partner(api, text).await?.id),
        None => Ok(PartnerId::OPERATOR),
    }
}
