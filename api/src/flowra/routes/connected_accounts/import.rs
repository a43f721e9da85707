//! `POST /connected_accounts`: an account connected with credentials that are there already. A worker tries them at
//! the provider first; a refresh token is never spent on that.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::{JsonMap, Scheme};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Begin, begin, choose_config, nothing_left, provider_of, read_inputs, take_params};
use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Body, Id},
    flowra::{
        account::{self, State as AccountState},
        adopt::{Adopted, adopt},
        scheme,
        shape::Bare,
        status::Status,
        user::{self, Named},
    },
    reply::Result,
    state::Api,
};

/// The account to connect.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ImportAccount {
    /// With which auth config.
    auth_config: ConfigId,
    /// Whose it is, and what it holds.
    connection: Given,
    /// Accepted: credentials are always tried first.
    #[serde(default, rename = "validateCredentials")]
    _validate_credentials: bool,
    /// The account whose credentials these replace: connecting the same provider account again keeps its id.
    connected_account_id: Option<String>,
    /// Refused: the page of a link needs nothing more.
    consent_link_token: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfigId {
    /// Its id.
    #[schema(example = "ac_019aa000000070008000000000000000")]
    id: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Given {
    /// What it holds.
    state: GivenState,
    /// The external user, made on first use.
    #[serde(rename = "eUID")]
    #[schema(example = "user_42")]
    euid: String,
    /// Accepted and ignored: no browser is involved.
    #[serde(default, rename = "callbackUrl")]
    _callback_url: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GivenState {
    /// The auth config's scheme.
    #[schema(example = "API_KEY")]
    auth_scheme: String,
    /// `access_token`, `refresh_token`, `expires_in` or `expired_at`, and `scope`; or `api_key`; or `token`; or
    /// `username` and `password`; and what the provider needs to know (a shop, a tenant).
    #[schema(value_type = Object)]
    val: JsonMap,
}

/// The account that was connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Imported {
    /// Its id.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    id: String,
    /// What it holds; secrets are redacted.
    connection_data: AccountState,
    /// `ACTIVE`, or `INITIATED` while the provider still takes its time.
    status: Status,
    /// Always empty: no browser is involved.
    redirect_url: String,
    /// Ids once more.
    deprecated: Deprecated,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportedDeprecated)]
struct Deprecated {
    /// The account's id.
    uuid: String,
    /// The auth config's.
    auth_config_uuid: String,
}

const VAL: &str = "connection.state.val";

/// Connect an account with existing credentials
///
/// They are tried at the provider first, without spending a refresh token: an access token must still work.
#[utoipa::path(post, path = "/api/v1/connected_accounts", tag = "flowra: connected accounts",
    request_body(content = ImportAccount, example = json!({
        "authConfig": {"id": "ac_019aa000000070008000000000000000"}, "connection": {"eUID": "user_42",
        "state": {"authScheme": "API_KEY", "val": {"api_key": "key-of-ada"}}}})),
    params(("x-username" = Option<String>, Header, description = "The external user; must be `eUID` if sent")),
    responses((status = 201, body = Imported)))]
pub(crate) async fn import_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    named: Named,
    Id(request_id): Id,
    Body(body): Body<ImportAccount>,
) -> Result<Bare<Imported>> {
    if body.consent_link_token.is_some() {
        let said = "is not needed here: the page of a link finishes the connection by itself";
        return Err(ApiError::field("consentLinkToken", said));
    }
    let state = body.connection.state;
    let config = &body.auth_config.id;
    let (offered, client) = choose_config(&api, &partner, "authConfig.id", config).await?;
    let (provider, held) = (provider_of(&api, &offered)?, offered.offer.scheme);
    if state.auth_scheme != scheme::word(held) {
        let said = format!("must be {}, as the auth config says", scheme::word(held));
        return Err(ApiError::field("connection.state.authScheme", said));
    }
    let mut given = read_inputs(VAL, state.val)?;
    let params = take_params(provider, VAL, &mut given, true)?;
    let fields = match held {
        Scheme::Oauth2 => {
            let members = scheme::OAUTH_MEMBERS.iter();
            members
                .filter_map(|name| given.remove_entry(*name))
                .collect()
        }
        _ => scheme::take_fields(held, &mut given),
    };
    given.remove("status");
    nothing_left(VAL, provider, held, &given)?;
    let tokens = scheme::tokens(held, VAL, &fields, &offered.config.scopes, api.ctx.now())?;
    let account =
        user::find_or_make(&api, &partner, "connection.eUID", &body.connection.euid).await?;
    if !named.sees(account.id) {
        return Err(ApiError::field(
            "connection.eUID",
            "is not the user of x-username",
        ));
    }
    if let Some(id) = &body.connected_account_id {
        account::find(&api, &partner, &Named(Some(account.clone())), id).await?;
    }
    let new = Begin {
        account: &account,
        offered: &offered,
        redirect_url: String::new(),
        params,
        expires_at: api.ctx.now() + api.ctx.config.connect.link,
        display_name: None,
    };
    let (link, session, _) = begin(&api, &partner, &client, new).await?;
    let adopted = adopt(&api, &session, &tokens, request_id).await?;
    let refused = match adopted {
        Adopted::Answered(answer) => answer.error,
        Adopted::Later => None,
        Adopted::Over => Some("conflict".to_owned()),
    };
    if let Some(code) = refused {
        // Nothing came of it, so nothing is listed.
        api.ctx
            .store
            .delete_link(partner.id, link.id, api.ctx.now())
            .await?;
        return Err(refusal(&code));
    }
    let subject = link.id.to_string();
    audit::by_partner(&api, &partner, request_id, "integration.import", &subject).await;
    let row = account::find(&api, &partner, &Named(None), &subject).await?;
    let seen = account::one(&api, &partner, row).await?;
    Ok(Bare::created(Imported {
        deprecated: Deprecated {
            uuid: seen.id.clone(),
            auth_config_uuid: offered.config.id.to_string(),
        },
        id: seen.id,
        connection_data: account::redacted_state(held, tokens.refresh.is_some()),
        status: seen.status,
        redirect_url: String::new(),
    }))
}

fn refusal(code: &str) -> ApiError {
    match code {
        "credentials_refused" => {
            ApiError::field(VAL, "was refused by the provider: it does not work there")
        }
        "provider_unavailable" => ApiError::new(
            Code::ProviderUnavailable,
            "The provider could not be asked whose credentials these are. Try again shortly.",
        ),
        _ => ApiError::new(
            Code::ProviderError,
            format!("These credentials made no connection ({code})."),
        ),
    }
}
