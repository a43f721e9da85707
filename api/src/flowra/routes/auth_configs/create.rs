//! `POST /auth_configs`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{AuthConfigId, states::AuthConfigStatus};
use latchkey_store::{AuthConfigRow, JsonMap, OfferRow, OfferedConfig, Scheme};
use secrecy::ExposeSecret;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Credentials, MAX_NAME, ToolAccess, check_scopes, check_tools};
use crate::{
    audit,
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::{Body, Id},
    flowra::{
        config::AuthConfigView,
        scheme,
        shape::{Bare, One},
        toolkit::{self, Toolkit},
    },
    reply::Result,
    routes::auth_configs::only_registered_addresses,
    state::Api,
};

/// The auth config to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CreateAuthConfig {
    /// For which toolkit.
    toolkit: ToolkitSlug,
    /// With whose credentials.
    auth_config: NewConfig,
}

/// Names a toolkit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToolkitSlug {
    /// Its slug.
    #[schema(example = "gmail")]
    slug: String,
}

/// With whose credentials.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewConfig {
    /// `use_provider_managed_auth` for the client that the operator shares, `use_custom_auth` for your own.
    #[serde(rename = "type")]
    #[schema(example = "use_custom_auth")]
    kind: String,
    /// With `use_custom_auth`: what connections hold.
    #[schema(example = "OAUTH2")]
    auth_scheme: Option<String>,
    /// Ignored: the server makes one.
    #[serde(default, rename = "name")]
    _name: Option<String>,
    /// A name for people.
    display_name: Option<String>,
    /// `client_id`, `client_secret` and `scopes` of your OAuth client, and what its provider needs to know of it.
    #[serde(default)]
    #[schema(value_type = Object)]
    credentials: JsonMap,
    /// Refused: requests go to the provider's own hosts.
    #[schema(value_type = Option<Object>)]
    proxy_config: Option<JsonMap>,
    /// The only tools that connections may run.
    #[serde(default)]
    restrict_to_following_tools: Vec<String>,
    /// Which tools links ask for.
    tool_access_config: Option<ToolAccess>,
}

/// Make an auth config
///
/// For an OAuth client of your own, register the answer's `callbackUrl` with the provider as its redirect URI.
#[utoipa::path(post, path = "/api/v1/auth_configs", tag = "flowra: auth configs",
    request_body(content = CreateAuthConfig, example = json!({"toolkit": {"slug": "gmail"}, "authConfig": {
        "type": "use_custom_auth", "authScheme": "OAUTH2", "displayName": "Our Gmail",
        "credentials": {"client_id": "our-client", "client_secret": "our-secret", "scopes": ["gmail.read", "gmail.send"]}}})),
    responses((status = 200, body = One<AuthConfigView>)))]
pub(crate) async fn create_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Body(body): Body<CreateAuthConfig>,
) -> Result<Bare<One<AuthConfigView>>> {
    let toolkit = toolkit::find(&api, "toolkit.slug", &body.toolkit.slug)?;
    partner.may_reach(&toolkit.provider.slug)?;
    let new = body.auth_config;
    let mut checks = Checks::default();
    checks.maybe_text(
        "authConfig.displayName",
        new.display_name.as_deref(),
        1,
        MAX_NAME,
    );
    let said = "is not supported: requests go to the provider's own hosts alone";
    checks.require(new.proxy_config.is_none(), "authConfig.proxyConfig", said);
    if let Some(access) = &new.tool_access_config {
        access.check(&mut checks);
    }
    checks.finish()?;
    let tools = "authConfig.restrictToFollowingTools";
    let tools = check_tools(toolkit, tools, &new.restrict_to_following_tools)?;
    let mut made = match new.kind.as_str() {
        "use_provider_managed_auth" => managed(&api, &partner, toolkit, new).await?,
        "use_custom_auth" => custom(&api, &partner, toolkit, new).await?,
        _ => {
            let said = "must be use_provider_managed_auth or use_custom_auth";
            return Err(ApiError::field("authConfig.type", said));
        }
    };
    made.offer.tools = tools;
    api.ctx.store.insert_offered_config(&made).await?;
    let row = made.config.id.to_string();
    audit::by_partner(&api, &partner, id, "auth_config.create", &row).await;
    Ok(One::of(AuthConfigView::of(&api, &made)))
}

/// One whose connections go with the operator's client.
async fn managed(
    api: &Api,
    partner: &Partner,
    toolkit: Toolkit<'_>,
    new: NewConfig,
) -> Result<OfferedConfig> {
    if let Some(text) = &new.auth_scheme {
        let scheme = scheme::read(toolkit.provider, "authConfig.authScheme", text)?;
        if scheme != Scheme::Oauth2 {
            let said = "must be OAUTH2 where the provider manages it";
            return Err(ApiError::field("authConfig.authScheme", said));
        }
    }
    let credentials = Credentials::read("authConfig.credentials", new.credentials)?;
    let own = credentials.client_id.is_some() || credentials.client_secret.is_some();
    if own || !credentials.params.is_empty() {
        let said = "may hold scopes alone where the provider manages the client";
        return Err(ApiError::field("authConfig.credentials", said));
    }
    let shared = api
        .ctx
        .store
        .newest_shared_auth_config(&toolkit.provider.slug)
        .await?;
    let shared = shared.ok_or_else(|| {
        ApiError::field(
            "authConfig.type",
            "is not possible: the operator shares no client for this toolkit; use use_custom_auth with yours",
        )
    })?;
    let scopes = credentials.scopes.unwrap_or_default();
    check_scopes(toolkit.provider, "authConfig.credentials.scopes", &scopes)?;
    let mut made = blank(api, partner, toolkit, new.display_name);
    made.offer.managed_by = Some(shared.id);
    made.config.scopes = scopes;
    Ok(made)
}

/// One with the partner's own client, or for keys.
async fn custom(
    api: &Api,
    partner: &Partner,
    toolkit: Toolkit<'_>,
    new: NewConfig,
) -> Result<OfferedConfig> {
    const FIELD: &str = "authConfig.credentials";
    let provider = toolkit.provider;
    let Some(text) = &new.auth_scheme else {
        return Err(ApiError::field(
            "authConfig.authScheme",
            "is required with use_custom_auth",
        ));
    };
    let scheme = scheme::read(provider, "authConfig.authScheme", text)?;
    let credentials = Credentials::read(FIELD, new.credentials)?;
    let params = provider
        .check_app_params(&credentials.params)
        .map_err(|error| ApiError::field(FIELD, error.to_string()))?;
    only_registered_addresses(api, provider, FIELD, &params).await?;
    let mut made = blank(api, partner, toolkit, new.display_name);
    made.offer.scheme = scheme;
    made.config.params = params;
    let scopes = credentials.scopes.unwrap_or_default();
    if scheme != Scheme::Oauth2 {
        if credentials.client_id.is_some()
            || credentials.client_secret.is_some()
            || !scopes.is_empty()
        {
            let said = "may hold no OAuth client with this scheme; keys are given for each connected account";
            return Err(ApiError::field(FIELD, said));
        }
        return Ok(made);
    }
    check_scopes(provider, "authConfig.credentials.scopes", &scopes)?;
    made.config.scopes = scopes;
    made.config.client_id = credentials
        .client_id
        .ok_or_else(|| ApiError::field("authConfig.credentials.client_id", "is required"))?;
    if let Some(secret) = &credentials.client_secret {
        let (row, plain) = (
            made.config.id.to_string(),
            secret.expose_secret().as_bytes(),
        );
        let sealer = &api.ctx.sealer;
        let sealed = sealer.seal(partner.id, "auth_configs", "client_secret", &row, 0, plain);
        made.config.client_secret = Some(sealed.await?);
    }
    Ok(made)
}

/// A config without credentials, with a name that the server makes.
fn blank(
    api: &Api,
    partner: &Partner,
    toolkit: Toolkit<'_>,
    display_name: Option<String>,
) -> OfferedConfig {
    let now = api.ctx.now();
    let id = AuthConfigId::new(now, &*api.ctx.entropy);
    let config = AuthConfigRow {
        id,
        partner_id: partner.id,
        provider: toolkit.provider.slug.clone(),
        name: format!("{}-{}", toolkit.slug(), short(id)),
        client_id: String::new(),
        client_secret: None,
        scopes: Vec::new(),
        params: JsonMap::new(),
        status: AuthConfigStatus::Enabled,
        status_reason: None,
        version: 0,
        created_at: now,
        updated_at: now,
    };
    let offer = OfferRow {
        id,
        partner_id: partner.id,
        toolkit: Some(toolkit.slug()),
        scheme: Scheme::Oauth2,
        managed_by: None,
        display_name,
        tools: None,
    };
    OfferedConfig { config, offer }
}

/// Six letters and digits of an id's random part.
fn short(id: AuthConfigId) -> String {
    const SIGNS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rest = id.as_u128() & u128::from(u32::MAX);
    let mut sign = || {
        let sign = SIGNS[usize::try_from(rest % 36).unwrap_or_default()];
        rest /= 36;
        char::from(sign)
    };
    (0..6).map(|_| sign()).collect()
}
