//! `/connected_accounts`: what end users are connected to.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod grouped;
pub(crate) mod import;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod refresh;
pub(crate) mod status;
pub(crate) mod update;

use latchkey_domain::{
    ConnectionId, SessionId, Timestamp,
    states::{AuthConfigStatus, SessionStatus},
};
use latchkey_providers::Provider;
use latchkey_store::{
    AccountRow, AuthConfigRow, JsonMap, LinkRow, OfferedConfig, Scheme, SessionRow,
};
use latchkey_vault::{digest, random_token};
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    auth::Partner,
    error::{ApiError, Code},
    flowra::{config, scheme, toolkit},
    reply::Result,
    state::Api,
};

/// Bytes of connect-time inputs as JSON.
const MAX_INPUTS: usize = 32 * 1024;

/// A link that is about to be made.
struct Begin<'a> {
    account: &'a AccountRow,
    offered: &'a OfferedConfig,
    redirect_url: String,
    params: JsonMap,
    expires_at: Timestamp,
    display_name: Option<String>,
}

/// The config that a body names, if it takes new connections, with the OAuth client that serves.
async fn choose_config(
    api: &Api,
    partner: &Partner,
    field: &str,
    id: &str,
) -> Result<(OfferedConfig, AuthConfigRow)> {
    let offered = config::find_usable(api, partner, id)
        .await
        .map_err(|error| match error.code {
            Code::NotFound => ApiError {
                details: ApiError::field(field, "is no auth config of yours").details,
                ..error
            },
            _ => error,
        })?;
    partner.may_reach(&offered.config.provider)?;
    let disabled = |config: &AuthConfigRow| {
        let said = format!(
            "This auth config is {}. Enable it, or choose another.",
            config.status
        );
        ApiError::new(Code::Conflict, said)
    };
    if offered.config.status != AuthConfigStatus::Enabled {
        return Err(disabled(&offered.config));
    }
    let client = match offered.offer.managed_by {
        None => offered.config.clone(),
        Some(shared) => {
            let found = api
                .ctx
                .store
                .get_usable_auth_config(partner.id, shared)
                .await?;
            let gone = "The operator no longer shares the client of this auth config.";
            found.ok_or_else(|| ApiError::new(Code::Conflict, gone))?
        }
    };
    if client.status != AuthConfigStatus::Enabled {
        return Err(disabled(&client));
    }
    Ok((offered, client))
}

/// The provider of a config.
fn provider_of<'a>(api: &'a Api, offered: &OfferedConfig) -> Result<&'a Provider> {
    let provider = api.ctx.catalog.get(&offered.config.provider);
    provider.ok_or_else(|| ApiError::not_found("toolkit"))
}

/// Makes session and link; the connection's id, and the secret of the page.
async fn begin(
    api: &Api,
    partner: &Partner,
    client: &AuthConfigRow,
    begin: Begin<'_>,
) -> Result<(LinkRow, SessionRow, SecretString)> {
    use secrecy::ExposeSecret;
    let provider = provider_of(api, begin.offered)?;
    let (now, slug) = (api.ctx.now(), config::toolkit_slug(api, begin.offered));
    let found = toolkit::find(api, "toolkit", &slug)?;
    let scopes = match begin.offered.offer.scheme {
        Scheme::Oauth2 => scopes(provider, begin.offered, client, &found.service.slug)?,
        _ => Vec::new(),
    };
    let secret = random_token(&*api.ctx.entropy);
    let session = SessionRow {
        id: SessionId::new(now, &*api.ctx.entropy),
        partner_id: partner.id,
        account_id: begin.account.id,
        auth_config_id: client.id,
        provider: provider.slug.clone(),
        redirect_url: begin.redirect_url,
        scopes,
        services: Vec::new(),
        params: begin.params,
        confirmation: partner.row.confirmation,
        status: SessionStatus::Pending,
        error: None,
        link_hash: digest(secret.expose_secret()),
        state_hash: None,
        binding_hash: None,
        completion_hash: None,
        verifier: None,
        code: None,
        code_sent_at: None,
        connection_id: None,
        created_at: now,
        expires_at: begin.expires_at,
        updated_at: now,
    };
    let link = LinkRow {
        partner_id: partner.id,
        id: ConnectionId::new(now, &*api.ctx.entropy),
        session_id: session.id,
        account_id: begin.account.id,
        config_id: begin.offered.config.id,
        toolkit: slug,
        scheme: begin.offered.offer.scheme,
        display_name: begin.display_name,
    };
    api.ctx.store.insert_link(&link, &session).await?;
    Ok((link, session, secret))
}

/// What to ask for: the config's scopes, else its client's, else the toolkit's usual permissions.
fn scopes(
    provider: &Provider,
    offered: &OfferedConfig,
    client: &AuthConfigRow,
    service: &str,
) -> Result<Vec<String>> {
    let (none, services) = (Vec::new(), [service.to_owned()]);
    let asked = [&offered.config.scopes, &client.scopes];
    let asked = asked.into_iter().find(|scopes| !scopes.is_empty());
    let services = if asked.is_some() {
        &[][..]
    } else {
        &services[..]
    };
    let scopes = provider.scopes_for(asked.unwrap_or(&none), services);
    scopes.map_err(|error| ApiError::field("authConfigId", error.to_string()))
}

/// Connect-time inputs: flat, or below `val` beside the scheme.
fn read_inputs(field: &str, mut given: JsonMap) -> Result<JsonMap> {
    let known = |key: &String| matches!(key.as_str(), "val" | "authScheme");
    if given.keys().all(known)
        && let Some(Value::Object(inner)) = given.get("val").cloned()
    {
        given = inner;
    }
    let size = serde_json::to_vec(&given).map_or(usize::MAX, |json| json.len());
    if size > MAX_INPUTS {
        return Err(ApiError::field(
            field,
            format!("must be at most {MAX_INPUTS} bytes as JSON"),
        ));
    }
    Ok(given)
}

/// Takes the provider's own inputs out of what was given, each checked; what was not given may be asked for later
/// unless `all` must be there.
fn take_params(
    provider: &Provider,
    field: &str,
    given: &mut JsonMap,
    all: bool,
) -> Result<JsonMap> {
    let mut checks = crate::check::Checks::default();
    let mut params = JsonMap::new();
    for param in &provider.connection_params {
        let at = format!("{field}.{}", param.name);
        let value = match given.remove(&param.name) {
            Some(Value::String(text)) => Some(text),
            Some(Value::Number(number)) => Some(number.to_string()),
            None | Some(Value::Null) => None,
            Some(_) => {
                checks.require(false, &at, "must be a text");
                continue;
            }
        };
        match value.or_else(|| param.default.clone().filter(|_| all)) {
            Some(value) => {
                checks.require(param.takes(&value), &at, format!("is no {}", param.label));
                params.insert(param.name.clone(), value.into());
            }
            None => checks.require(!all, &at, format!("is required: {}", param.label)),
        }
    }
    checks.finish()?;
    Ok(params)
}

/// Refuses what nobody asked for.
fn nothing_left(field: &str, provider: &Provider, held: Scheme, left: &JsonMap) -> Result<()> {
    let Some(name) = left.keys().next() else {
        return Ok(());
    };
    let inputs = provider
        .connection_params
        .iter()
        .map(|param| param.name.as_str());
    let fields = scheme::fields(held).iter().map(|field| field.name);
    let known: Vec<_> = inputs.chain(fields).collect();
    let known = if known.is_empty() {
        "nothing".to_owned()
    } else {
        known.join(", ")
    };
    let name: String = name.chars().take(80).collect();
    Err(ApiError::field(
        format!("{field}.{name}"),
        format!("is not asked for: this toolkit takes {known}"),
    ))
}
