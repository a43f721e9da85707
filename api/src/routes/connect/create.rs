//! `POST /accounts/{id}/connect`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{
    SessionId,
    states::{AuthConfigStatus, SessionStatus},
};
use latchkey_providers::Provider;
use latchkey_store::{AuthConfigRow, Confirmation, JsonMap, SessionRow};
use latchkey_vault::{digest, random_token};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Partner,
    check::Checks,
    error::{ApiError, Code},
    extract::{self, Body, Path},
    openapi::Time,
    redirect,
    reply::{Envelope, Reply, Result},
    routes::accounts,
    state::Api,
};

/// Scopes, and services, of one session. Providers have some hundred scopes in all.
const MAX_NAMES: usize = 100;
/// Characters of one of them; Google's longest has 80.
const MAX_NAME: usize = 255;
/// Bytes of `params` as JSON: a few short texts.
const MAX_PARAMS: usize = 4096;

/// What to connect, and where the browser goes afterwards.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// The provider.
    #[schema(example = "google")]
    provider: String,
    /// Where the end user lands: one of your registered redirect URLs, exactly (any port on loopback hosts).
    #[schema(example = "https://app.example.com/connected")]
    redirect_url: String,
    /// What to ask for: permission ids (`gmail.read`) and the provider's own scopes, mixed. Left out: what the
    /// auth config says, else the provider's default permissions.
    #[serde(default)]
    scopes: Vec<String>,
    /// Services to ask for, each with its default permissions.
    #[serde(default)]
    services: Vec<String>,
    /// The OAuth client to use: yours or one of the operator's. Left out: your newest enabled one for the
    /// provider, else the operator's.
    auth_config_id: Option<String>,
    /// `partner`: your backend must confirm who came back (`POST /connect-sessions/{id}/complete`). `none`:
    /// the browser's return is enough. Left out: your partner profile's setting.
    #[schema(value_type = Option<String>, example = "partner")]
    confirmation: Option<String>,
    /// What the provider needs to know first (a shop, a tenant), as its entry names it.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: JsonMap,
}

impl NewSession {
    fn check(&self, partner: &Partner) -> Result<()> {
        let mut checks = Checks::default();
        checks.text("provider", &self.provider, 1, MAX_NAME);
        for (field, names) in [("scopes", &self.scopes), ("services", &self.services)] {
            let few = names.len() <= MAX_NAMES;
            checks.require(few, field, format!("must be at most {MAX_NAMES}"));
            for name in names.iter().take(MAX_NAMES) {
                checks.text(field, name, 1, MAX_NAME);
            }
        }
        let known = self
            .confirmation
            .as_deref()
            .is_none_or(|c| Confirmation::parse(c).is_some());
        checks.require(known, "confirmation", "must be 'none' or 'partner'");
        checks.json_size("params", &self.params, MAX_PARAMS);
        let problem = redirect::problem(&self.redirect_url);
        let registered = redirect::is_registered(&partner.row.redirect_urls, &self.redirect_url);
        let said = problem.unwrap_or_else(|| {
            "is not one of your registered redirect URLs (PUT /api/v1/partner/redirect_urls): it must be the \
             same text; only a loopback host's port is free"
                .to_owned()
        });
        checks.require(registered, "redirect_url", said);
        checks.finish()
    }
}

/// A link for the end user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Link {
    /// Send the end user's browser here, and nobody else's: whoever opens it connects *their* account. It
    /// works once.
    #[schema(example = "https://keys.example.com/connect/6rXj…")]
    connect_url: String,
    /// What to ask for how it went.
    session_id: String,
    /// When the link ends by itself.
    expires_at: Time,
}

/// Connect an account to a provider
///
/// Answers with a link to a page that says who asks for what and leads to the provider's consent. Afterwards
/// the browser lands on `redirect_url` with `status=success&provider&account_id=<external_id>&session_id`,
/// `status=error&error=<code>&…`, or, with confirmation, `status=confirm&session_id&completion_code`.
#[utoipa::path(post, path = "/api/v1/accounts/{account_id}/connect", tag = "connect", request_body = NewSession,
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`")),
    responses((status = 200, body = Envelope<Link>)))]
pub(crate) async fn create_connect_session(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(account): Path<String>,
    Body(body): Body<NewSession>,
) -> Result<Reply<Link>> {
    let account = accounts::find(&api, &partner, &account).await?;
    body.check(&partner)?;
    let provider = api
        .ctx
        .catalog
        .get(&body.provider)
        .ok_or_else(|| ApiError::field("provider", "is not a provider of this server"))?;
    partner.may_reach(&provider.slug)?;
    let config = choose_config(&api, &partner, &body, provider).await?;
    let scopes = choose_scopes(&body, provider, &config)?;
    let params = provider
        .check_connection_params(&body.params)
        .map_err(|error| ApiError::field("params", error.to_string()))?;
    let secret = random_token(&*api.ctx.entropy);
    let now = api.ctx.now();
    let row = SessionRow {
        id: SessionId::new(now, &*api.ctx.entropy),
        partner_id: partner.id,
        account_id: account.id,
        auth_config_id: config.id,
        provider: body.provider,
        redirect_url: body.redirect_url,
        scopes,
        services: body.services,
        params,
        confirmation: body
            .confirmation
            .and_then(|c| Confirmation::parse(&c))
            .unwrap_or(partner.row.confirmation),
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
        expires_at: now + api.ctx.config.connect.session,
        updated_at: now,
    };
    api.ctx.store.insert_session(&row).await?;
    let origin = api.ctx.config.public_origin();
    Ok(Reply(Link {
        connect_url: format!("{origin}/connect/{}", secret.expose_secret()),
        session_id: row.id.to_string(),
        expires_at: Time(row.expires_at),
    }))
}

/// The OAuth client that serves the session.
async fn choose_config(
    api: &Api,
    partner: &Partner,
    body: &NewSession,
    provider: &Provider,
) -> Result<AuthConfigRow> {
    let store = &api.ctx.store;
    let Some(wanted) = &body.auth_config_id else {
        let found = store
            .newest_enabled_auth_config(partner.id, &provider.slug)
            .await?;
        return found.ok_or_else(|| {
            ApiError::field(
                "provider",
                format!(
                    "has no enabled OAuth client here: add yours for '{}' with POST /api/v1/auth_configs, or \
                     ask the operator for a shared one",
                    provider.slug
                ),
            )
        });
    };
    let id = extract::id(wanted, "auth config")?;
    let found = store.get_usable_auth_config(partner.id, id).await?;
    let config = found.ok_or_else(|| ApiError::not_found("auth config"))?;
    let config = client_of(api, partner, config).await?;
    if config.provider != provider.slug {
        return Err(ApiError::field(
            "auth_config_id",
            format!("is for '{}', not for '{}'", config.provider, provider.slug),
        ));
    }
    match config.status {
        AuthConfigStatus::Enabled => Ok(config),
        AuthConfigStatus::Disabled | AuthConfigStatus::Paused => Err(ApiError::new(
            Code::Conflict,
            format!(
                "This auth config is {}. Enable it, or choose another.",
                config.status
            ),
        )),
    }
}

/// The OAuth client that serves for a config: its own, or the operator's that it stands for.
async fn client_of(api: &Api, partner: &Partner, config: AuthConfigRow) -> Result<AuthConfigRow> {
    if !config.client_id.is_empty() || config.status != AuthConfigStatus::Enabled {
        return Ok(config);
    }
    let store = &api.ctx.store;
    let offered = store.find_offered_configs(partner.id, &[config.id]).await?;
    let managed_by = offered
        .into_iter()
        .next()
        .and_then(|row| row.offer.managed_by);
    let client = match managed_by {
        Some(id) => store.get_usable_auth_config(partner.id, id).await?,
        None => None,
    };
    client.ok_or_else(|| ApiError::field("auth_config_id", "has no OAuth client: it is for keys"))
}

/// The provider's scopes to ask for.
fn choose_scopes(
    body: &NewSession,
    provider: &Provider,
    config: &AuthConfigRow,
) -> Result<Vec<String>> {
    let names_nothing = body.scopes.is_empty() && body.services.is_empty();
    let scopes = if names_nothing {
        &config.scopes
    } else {
        &body.scopes
    };
    provider
        .scopes_for(scopes, &body.services)
        .map_err(|error| {
            let field = if body.services.is_empty() {
                "scopes"
            } else {
                "services"
            };
            ApiError::field(field, error.to_string())
        })
}
