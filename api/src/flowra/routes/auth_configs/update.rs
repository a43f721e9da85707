//! `PATCH /auth_configs/{id}`: names, scopes, restrictions, and the client's credentials.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::{AuthConfigChange, JsonMap, NewCredentials, OfferedConfig, Scheme};
use secrecy::ExposeSecret;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Credentials, MAX_NAME, ToolAccess, check_scopes, check_tools};
use crate::{
    audit,
    auth::Partner,
    check::Checks,
    error::{ApiError, Code},
    extract::{Body, Id, Path, nullable},
    flowra::{
        config::{self, AuthConfigView},
        shape::{Bare, One},
        toolkit,
    },
    reply::Result,
    routes::auth_configs::only_registered_addresses,
    state::Api,
};

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = FlowraUpdateAuthConfig)]
pub(crate) struct UpdateAuthConfig {
    /// Accepted if it is what the config is: `custom` or `default`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A name for people; `null` clears it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    display_name: Option<Option<String>>,
    /// `client_id`, `client_secret`, `scopes`, and what the provider needs to know of the client.
    #[schema(value_type = Option<Object>)]
    credentials: Option<JsonMap>,
    /// The only tools that connections may run; an empty list lifts the restriction.
    restrict_to_following_tools: Option<Vec<String>>,
    /// Which tools links ask for.
    tool_access_config: Option<ToolAccess>,
}

/// Change an auth config
#[utoipa::path(patch, path = "/api/v1/auth_configs/{auth_config_id}", tag = "flowra: auth configs",
    request_body(content = UpdateAuthConfig, example = json!({"displayName": "Our Gmail",
        "credentials": {"client_secret": "our-secret"}})),
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)",
        example = "ac_019aa000000070008000000000000000")),
    responses((status = 200, body = One<AuthConfigView>)))]
pub(crate) async fn update_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(id): Path<String>,
    Body(body): Body<UpdateAuthConfig>,
) -> Result<Bare<One<AuthConfigView>>> {
    let mut row = config::find_own(&api, &partner, &id).await?;
    let mut checks = Checks::default();
    let name = body.display_name.as_ref().and_then(|name| name.as_deref());
    checks.maybe_text("displayName", name, 1, MAX_NAME);
    if let Some(kind) = &body.kind {
        let is = if config::is_managed(&row) {
            "default"
        } else {
            "custom"
        };
        checks.require(kind == is, "type", format!("cannot be changed: it is {is}"));
    }
    if let Some(access) = &body.tool_access_config {
        access.check(&mut checks);
    }
    checks.finish()?;
    if let Some(tools) = &body.restrict_to_following_tools {
        let slug = config::toolkit_slug(&api, &row);
        let toolkit = toolkit::find(&api, "toolkit", &slug)?;
        row.offer.tools = check_tools(toolkit, "restrictToFollowingTools", tools)?;
    }
    if let Some(name) = body.display_name {
        row.offer.display_name = name;
    }
    let change = match body.credentials {
        Some(credentials) => Some(change(&api, &row, credentials).await?),
        None => None,
    };
    let (store, now) = (&api.ctx.store, api.ctx.now());
    if let Some(change) = change {
        match store
            .update_auth_config(partner.id, row.config.id, &change, now)
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {
                let said = "The credentials of this auth config changed meanwhile. Try again.";
                return Err(ApiError::new(Code::Conflict, said));
            }
            Err(error) => return Err(error.into()),
        }
    }
    store.set_offer(&row.offer, now).await?;
    audit::by_partner(&api, &partner, request_id, "auth_config.update", &id).await;
    let row = config::find_own(&api, &partner, &id).await?;
    Ok(One::of(AuthConfigView::of(&api, &row)))
}

/// The change that new credentials are.
async fn change(api: &Api, row: &OfferedConfig, given: JsonMap) -> Result<AuthConfigChange> {
    let provider = api.ctx.catalog.get(&row.config.provider);
    let provider = provider.ok_or_else(|| ApiError::not_found("auth config"))?;
    let given = Credentials::read("credentials", given)?;
    let client = given.client_id.is_some() || given.client_secret.is_some();
    let own = row.offer.scheme == Scheme::Oauth2 && !config::is_managed(row);
    if client && !own {
        return Err(ApiError::field(
            "credentials",
            "has no OAuth client to change here",
        ));
    }
    if config::is_managed(row) && !given.params.is_empty() {
        return Err(ApiError::field("credentials", "may hold scopes alone"));
    }
    let mut change = AuthConfigChange::default();
    if let Some(scopes) = given.scopes {
        check_scopes(provider, "credentials.scopes", &scopes)?;
        change.scopes = Some(scopes);
    }
    if !given.params.is_empty() {
        let mut params = row.config.params.clone();
        params.extend(given.params);
        let checked = provider.check_app_params(&params);
        let checked = checked.map_err(|error| ApiError::field("credentials", error.to_string()))?;
        only_registered_addresses(api, provider, "credentials", &checked).await?;
        change.params = Some(checked);
    }
    if client {
        let mut client_secret = row.config.client_secret.clone();
        if let Some(secret) = &given.client_secret {
            let (id, plain) = (row.config.id.to_string(), secret.expose_secret().as_bytes());
            let (sealer, partner) = (&api.ctx.sealer, row.config.partner_id);
            let sealed = sealer.seal(partner, "auth_configs", "client_secret", &id, 0, plain);
            client_secret = Some(sealed.await?);
        }
        change.credentials = Some(NewCredentials {
            seen: row.config.version,
            client_id: given
                .client_id
                .unwrap_or_else(|| row.config.client_id.clone()),
            client_secret,
        });
    }
    Ok(change)
}
