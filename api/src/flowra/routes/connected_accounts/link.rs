//! `POST /connected_accounts/link`: a page for one end user, once.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::{Confirmation, JsonMap, Scheme};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Begin, begin, choose_config, nothing_left, provider_of, read_inputs, take_params};
use crate::{
    auth::Partner,
    error::{ApiError, Code},
    extract::Body,
    flowra::{scheme, shape::Bare, user::Named},
    openapi::Time,
    redirect,
    reply::Result,
    state::Api,
};

/// What to connect, and where the browser goes afterwards.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CreateLink {
    /// With which auth config.
    #[schema(example = "ac_019aa000000070008000000000000000")]
    auth_config_id: String,
    /// Where the end user lands: one of your registered redirect URLs. Without it the page says how it went.
    #[schema(example = "https://app.example.com/connected")]
    callback_url: Option<String>,
    /// What the provider needs to know first (a shop, a tenant); what is left out is asked for on the page.
    #[schema(value_type = Option<Object>)]
    connection_data: Option<JsonMap>,
}

/// A link for the end user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedLink {
    /// Send the end user's browser here, and nobody else's. It works once.
    #[schema(example = "https://keys.example.com/connect/6rXj…")]
    redirect_url: String,
    /// The secret in it.
    link_token: String,
    /// When it ends by itself.
    expires_at: Time,
    /// The connected account that it leads to. Connecting the same provider account again keeps the older id,
    /// which this one then leads to.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    connected_account_id: String,
}

/// Begin to connect an account
///
/// For the external user in `x-username`, else for the default user. Afterwards the browser lands on `callbackUrl`
/// with `connectionId` and `status=success`, or `status=failed` and `error`.
#[utoipa::path(post, path = "/api/v1/connected_accounts/link", tag = "flowra: connected accounts",
    request_body = CreateLink,
    params(("x-username" = Option<String>, Header, description = "The external user, made on first use")),
    responses((status = 201, body = CreatedLink)))]
pub(crate) async fn create_link(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Body(body): Body<CreateLink>,
) -> Result<Bare<CreatedLink>> {
    let callback_url = body.callback_url.unwrap_or_default();
    if !callback_url.is_empty()
        && !redirect::is_registered(&partner.row.redirect_urls, &callback_url)
    {
        let said = redirect::problem(&callback_url).unwrap_or_else(|| {
            "is not one of your registered redirect URLs (PUT /api/v1/partner/redirect_urls)"
                .to_owned()
        });
        return Err(ApiError::field("callbackUrl", said));
    }
    let field = "authConfigId";
    let (offered, client) = choose_config(&api, &partner, field, &body.auth_config_id).await?;
    let provider = provider_of(&api, &offered)?;
    let mut given = read_inputs("connectionData", body.connection_data.unwrap_or_default())?;
    let params = take_params(provider, "connectionData", &mut given, false)?;
    let held = offered.offer.scheme;
    if held != Scheme::Oauth2 && !scheme::take_fields(held, &mut given).is_empty() {
        let said = "may hold no secrets here: the end user gives them on the page, or you give them to \
                    POST /api/v1/connected_accounts";
        return Err(ApiError::field("connectionData", said));
    }
    nothing_left("connectionData", provider, Scheme::Oauth2, &given)?;
    if held != Scheme::Oauth2 && partner.row.confirmation == Confirmation::Partner {
        // What is given on the page is used at once; nobody could confirm first who gave it.
        let said = "Your profile asks for confirmation, which links of this auth scheme do not have. Give the \
                    credentials to POST /api/v1/connected_accounts.";
        return Err(ApiError::new(Code::Conflict, said));
    }
    let account = user.or_default(&api, &partner).await?;
    let new = Begin {
        account: &account,
        offered: &offered,
        redirect_url: callback_url,
        params,
        expires_at: api.ctx.now() + api.ctx.config.connect.link,
        display_name: None,
    };
    let (link, session, secret) = begin(&api, &partner, &client, new).await?;
    let origin = api.ctx.config.public_origin();
    Ok(Bare::created(CreatedLink {
        redirect_url: format!("{origin}/connect/{}", secret.expose_secret()),
        link_token: secret.expose_secret().to_owned(),
        expires_at: Time(session.expires_at),
        connected_account_id: link.id.to_string(),
    }))
}
