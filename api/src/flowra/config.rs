//! Auth configs as Flowra's clients see them. Their secrets are never shown.

use latchkey_domain::{AuthConfigId, states::AuthConfigStatus};
use latchkey_store::{OfferedConfig, Scheme};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    scheme,
    toolkit::{Toolkit, ToolkitRef},
};
use crate::{
    auth::Partner, error::ApiError, extract, openapi::Time, reply::Result,
    routes::auth_configs::callback_url, state::Api,
};

/// An auth config.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FlowraAuthConfig)]
pub(crate) struct AuthConfigView {
    /// Its id.
    #[schema(example = "ac_019aa000000070008000000000000000")]
    pub(crate) id: String,
    /// Its name, made by the server.
    #[schema(example = "gmail-9qmlw6")]
    pub(crate) name: String,
    /// Its name for people.
    display_name: Option<String>,
    /// The toolkit it is for.
    toolkit: ToolkitRef,
    /// What its connections hold.
    #[schema(example = "OAUTH2")]
    auth_scheme: &'static str,
    /// `default` if the operator's client serves, else `custom`.
    #[serde(rename = "type")]
    #[schema(example = "custom")]
    kind: &'static str,
    /// Whether the operator's client serves.
    is_provider_managed: bool,
    /// Whether it takes no new connections.
    is_disabled: bool,
    /// `ENABLED` or `DISABLED`.
    #[schema(example = "ENABLED")]
    status: &'static str,
    /// Why it is disabled, if the provider refused the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// Register exactly this redirect URI with the provider. None where the client is not yours, or where
    /// there is no OAuth.
    #[schema(
        example = "https://keys.example.com/api/v1/connect/callback/ac_019aa000000070008000000000000000"
    )]
    callback_url: Option<String>,
    /// The OAuth client id.
    client_id: Option<String>,
    /// Whether a client secret is kept. It is never shown.
    has_client_secret: bool,
    /// What links ask for; empty for the toolkit's usual.
    scopes: Vec<String>,
    /// The only tools that its connections may run; empty for all.
    restrict_to_following_tools: Vec<String>,
    /// When it was made.
    created_at: Time,
    /// When it last changed.
    updated_at: Time,
}

impl AuthConfigView {
    /// As this server shows it.
    pub(crate) fn of(api: &Api, row: &OfferedConfig) -> Self {
        let (config, offer) = (&row.config, &row.offer);
        let managed = is_managed(row);
        let oauth = offer.scheme == Scheme::Oauth2;
        let disabled = config.status != AuthConfigStatus::Enabled;
        let own = oauth && !managed;
        Self {
            id: config.id.to_string(),
            name: config.name.clone(),
            display_name: offer.display_name.clone(),
            toolkit: ToolkitRef::of(api, &toolkit_slug(api, row)),
            auth_scheme: scheme::word(offer.scheme),
            kind: if managed { "default" } else { "custom" },
            is_provider_managed: managed,
            is_disabled: disabled,
            status: if disabled { "DISABLED" } else { "ENABLED" },
            status_reason: config.status_reason.clone(),
            callback_url: own.then(|| callback_url(api, config.id)),
            client_id: own.then(|| config.client_id.clone()),
            has_client_secret: own && config.client_secret.is_some(),
            scopes: config.scopes.clone(),
            restrict_to_following_tools: offer.tools.clone().unwrap_or_default(),
            created_at: Time(config.created_at),
            updated_at: Time(config.updated_at),
        }
    }
}

/// Whether the operator's client serves.
pub(crate) fn is_managed(row: &OfferedConfig) -> bool {
    row.offer.managed_by.is_some() || row.config.partner_id == latchkey_domain::PartnerId::OPERATOR
}

/// The toolkit that a config is for; the first of its provider where it names none.
pub(crate) fn toolkit_slug(api: &Api, row: &OfferedConfig) -> String {
    if let Some(slug) = &row.offer.toolkit {
        return slug.clone();
    }
    let provider = api.ctx.catalog.get(&row.config.provider);
    let first = provider.and_then(|provider| {
        let service = provider.services.first()?;
        Some(Toolkit { provider, service }.slug())
    });
    first.unwrap_or_else(|| row.config.provider.clone())
}

/// The partner's own config that a path or body names.
///
/// # Errors
/// The same 404 for a malformed id, a missing config and another partner's.
pub(crate) async fn find_own(api: &Api, partner: &Partner, id: &str) -> Result<OfferedConfig> {
    let found = find_usable(api, partner, id).await?;
    if found.config.partner_id != partner.id {
        return Err(ApiError::not_found("auth config"));
    }
    partner.may_reach(&found.config.provider)?;
    Ok(found)
}

/// The same, or one that the operator shares.
pub(crate) async fn find_usable(api: &Api, partner: &Partner, id: &str) -> Result<OfferedConfig> {
    let id: AuthConfigId = extract::id(id, "auth config")?;
    let found = api
        .ctx
        .store
        .find_offered_configs(partner.id, &[id])
        .await?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::not_found("auth config"))
}
