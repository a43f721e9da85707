//! Auth configs: OAuth clients. A partner has its own, which it manages on the Flowra side (`flowra/routes`); the
//! operator shares some with all, by its own routes. Every config has a callback URL of its own, so that a code
//! meant for one never reaches another (`reliability.md` A2).

use latchkey_domain::{AuthConfigId, PartnerId, states::AuthConfigStatus};
use latchkey_providers::Provider;
use latchkey_store::{AuthConfigChange, AuthConfigRow, JsonMap};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;

use crate::{
    check::Checks,
    error::{ApiError, Code},
    extract::secret,
    openapi::Time,
    reply::Result,
    state::Api,
};

/// Characters of a name.
const MAX_NAME: usize = 255;
/// Characters of a client id and secret. Some are whole certificates; none is a book.
const MAX_CREDENTIAL: usize = 4096;
/// Default scopes of one config, and characters of each.
const MAX_SCOPES: usize = 200;
const MAX_SCOPE: usize = 255;
/// Bytes of the parameters as JSON.
const MAX_PARAMS: usize = 16 * 1024;

/// The OAuth client to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAuthConfig {
    /// The provider's slug.
    #[schema(example = "google")]
    pub(crate) provider: String,
    /// The client id that the provider gave you.
    client_id: String,
    /// The client secret. It is sealed and never shown again; public clients have none.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretString>,
    /// Scopes or permission ids that sessions ask for when they name none.
    #[serde(default)]
    scopes: Vec<String>,
    /// What this provider needs to know of your client, such as `base_url` of a server of your own.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: JsonMap,
    /// A name for people; the provider's by default.
    name: Option<String>,
}

/// An OAuth client. Its secret is never shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuthConfig {
    /// Its id.
    #[schema(example = "ac_019aa000000070008000000000000000")]
    pub(crate) id: String,
    /// The provider's slug.
    #[schema(example = "google")]
    provider: String,
    /// A name for people.
    name: String,
    /// The OAuth client id.
    client_id: String,
    /// Whether a client secret is kept.
    has_secret: bool,
    /// Scopes that sessions ask for when they name none.
    scopes: Vec<String>,
    /// What this provider needs to know.
    #[schema(value_type = Object)]
    params: JsonMap,
    /// `enabled`, `disabled`, or `paused` when the provider refused the client itself.
    #[schema(value_type = String, example = "enabled")]
    status: AuthConfigStatus,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// Register exactly this redirect URI with the provider.
    #[schema(
        example = "https://keys.example.com/api/v1/connect/callback/ac_019aa000000070008000000000000000"
    )]
    callback_url: String,
    /// When it was made.
    created_at: Time,
    /// When it last changed.
    updated_at: Time,
}

impl AuthConfig {
    /// As this server shows it.
    pub(crate) fn of(api: &Api, row: AuthConfigRow) -> Self {
        Self {
            callback_url: callback_url(api, row.id),
            id: row.id.to_string(),
            provider: row.provider,
            name: row.name,
            client_id: row.client_id,
            has_secret: row.client_secret.is_some(),
            scopes: row.scopes,
            params: row.params,
            status: row.status,
            status_reason: row.status_reason,
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
        }
    }
}

/// Where a provider sends browsers back to for this config.
pub(crate) fn callback_url(api: &Api, id: AuthConfigId) -> String {
    format!(
        "{}/api/v1/connect/callback/{id}",
        api.ctx.config.public_origin()
    )
}

/// What may change of a config; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateAuthConfig {
    /// `enabled` or `disabled`: a disabled one takes no new sessions; its connections go on.
    status: Option<Switch>,
    /// A name for people.
    name: Option<String>,
    /// Scopes or permission ids that sessions ask for when they name none.
    scopes: Option<Vec<String>>,
}

/// What an owner may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Switch {
    /// In use. Also takes a paused config up again.
    Enabled,
    /// No new sessions.
    Disabled,
}

/// Makes a config for an owner.
pub(crate) async fn make(api: &Api, owner: PartnerId, new: NewAuthConfig) -> Result<AuthConfig> {
    let provider = provider(api, &new.provider)?;
    let params = check_new(provider, &new)?;
    let now = api.ctx.now();
    let id = AuthConfigId::new(now, &*api.ctx.entropy);
    let client_secret = match &new.client_secret {
        Some(secret) => {
            let plain = secret.expose_secret().as_bytes();
            let row = id.to_string();
            Some(
                api.ctx
                    .sealer
                    .seal(owner, "auth_configs", "client_secret", &row, 0, plain)
                    .await?,
            )
        }
        None => None,
    };
    let row = AuthConfigRow {
        id,
        partner_id: owner,
        name: new.name.unwrap_or_else(|| provider.display_name.clone()),
        provider: new.provider,
        client_id: new.client_id,
        client_secret,
        scopes: new.scopes,
        params,
        status: AuthConfigStatus::Enabled,
        status_reason: None,
        // The secret is sealed for it.
        version: 0,
        created_at: now,
        updated_at: now,
    };
    api.ctx.store.insert_auth_config(&row).await?;
    Ok(AuthConfig::of(api, row))
}

/// Checks a partner's own parameters: plain http is spoken to the operator's egress list alone, where other
/// servers than the meant one may listen. So a partner names no such address that the operator has not
/// registered, in a config of its own for that provider. `field` is where the parameters stand.
pub(crate) async fn only_registered_addresses(
    api: &Api,
    provider: &Provider,
    field: &str,
    params: &JsonMap,
) -> Result<()> {
    let addresses: Vec<_> = params.iter().filter(|(_, v)| plain_http(v)).collect();
    if addresses.is_empty() {
        return Ok(());
    }
    let store = &api.ctx.store;
    let operators = store.list_auth_configs(PartnerId::OPERATOR).await?;
    let registered = |name: &str, address: &Value| {
        let mut known = operators.iter().filter(|row| row.provider == provider.slug);
        known.any(|row| row.params.get(name) == Some(address))
    };
    let mut checks = Checks::default();
    for (name, address) in addresses {
        let says =
            "must be an address that the operator has registered (latchkey auth-config create)";
        checks.require(registered(name, address), &format!("{field}.{name}"), says);
    }
    checks.finish()
}

fn plain_http(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    Url::parse(text).is_ok_and(|url| url.scheme() == "http")
}

/// Changes a config of an owner.
pub(crate) async fn change(
    api: &Api,
    row: AuthConfigRow,
    update: UpdateAuthConfig,
) -> Result<AuthConfig> {
    let (store, now) = (&api.ctx.store, api.ctx.now());
    let mut checks = Checks::default();
    checks.maybe_text("name", update.name.as_deref(), 1, MAX_NAME);
    checks.finish()?;
    if let Some(scopes) = &update.scopes {
        check_scopes(provider(api, &row.provider)?, scopes)?;
    }
    if let Some(switch) = update.status {
        let status = match switch {
            Switch::Enabled => AuthConfigStatus::Enabled,
            Switch::Disabled => AuthConfigStatus::Disabled,
        };
        let moved = row.status == status
            || store
                .set_auth_config_status(row.partner_id, row.id, status, None, now)
                .await?;
        if !moved {
            return Err(ApiError::new(
                Code::Conflict,
                format!("A config that is {} cannot become {status}.", row.status),
            ));
        }
    }
    let change = AuthConfigChange {
        name: update.name,
        scopes: update.scopes,
        ..AuthConfigChange::default()
    };
    let row = store
        .update_auth_config(row.partner_id, row.id, &change, now)
        .await?;
    Ok(AuthConfig::of(
        api,
        row.ok_or_else(|| ApiError::not_found("auth config"))?,
    ))
}

fn provider<'a>(api: &'a Api, slug: &str) -> Result<&'a Provider> {
    api.ctx.catalog.get(slug).ok_or_else(|| {
        let known: Vec<_> = api
            .ctx
            .catalog
            .providers()
            .map(|p| p.slug.as_str())
            .collect();
        ApiError::field("provider", format!("must be one of {}", known.join(", ")))
    })
}

/// Checks a new config; returns its parameters with defaults filled in.
fn check_new(provider: &Provider, new: &NewAuthConfig) -> Result<JsonMap> {
    let mut checks = Checks::default();
    checks.text("client_id", &new.client_id, 1, MAX_CREDENTIAL);
    if let Some(secret) = &new.client_secret {
        checks.paragraph("client_secret", secret.expose_secret(), MAX_CREDENTIAL);
        checks.require(
            !secret.expose_secret().is_empty(),
            "client_secret",
            "must not be empty",
        );
    }
    checks.maybe_text("name", new.name.as_deref(), 1, MAX_NAME);
    checks.plain_values("params", &new.params);
    checks.json_size("params", &new.params, MAX_PARAMS);
    checks.finish()?;
    check_scopes(provider, &new.scopes)?;
    provider
        .check_app_params(&new.params)
        .map_err(|error| ApiError::field("params", error.to_string()))
}

fn check_scopes(provider: &Provider, scopes: &[String]) -> Result<()> {
    let mut checks = Checks::default();
    let fits = scopes.len() <= MAX_SCOPES && scopes.iter().all(|s| s.len() <= MAX_SCOPE);
    checks.require(
        fits,
        "scopes",
        format!("must be at most {MAX_SCOPES} of at most {MAX_SCOPE} characters"),
    );
    checks.finish()?;
    match provider.scopes_for(scopes, &[]) {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::field("scopes", error.to_string())),
    }
}
