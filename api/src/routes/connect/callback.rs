//! `GET /connect/callback/{auth_config}`: the provider sends the browser back.
//!
//! What is checked, in this order, before anything that the browser brought is believed: the state is one of
//! ours; it was made for this auth config's callback (so an honest provider's answer cannot be brought to
//! another's, `reliability.md` A2); it was not used and is not expired; the browser is the one that was sent
//! (A1); the issuer is the one that was asked. An unknown state shows a page and redirects nowhere.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode, Uri};
use latchkey_domain::{RequestId, states::SessionStatus};
use latchkey_oauth::{Vars, check_issuer, spec::CallbackCheck};
use latchkey_providers::{captured, quirks};
use latchkey_store::{AfterCode, AuthConfigRow, Confirmation, JsonMap, SessionRow, TakeCode};
use latchkey_vault::{digest, random_token};
use secrecy::{ExposeSecret, SecretString};

use super::{
    exchange,
    landing::{self, Ending},
};
use crate::{
    extract::{Id, Path},
    pages::{PageError, Result, binding::Binding, go_to},
    state::Api,
};

/// Longest state, error code and issuer looked at; our states have 43 characters.
const MAX_SHORT: usize = 512;
/// Most parameters looked at.
const MAX_PAIRS: usize = 100;
/// Longest code: the largest seen are some 2 KiB.
const MAX_CODE: usize = 8 * 1024;

/// The provider did not agree to answer, in its own words.
const REFUSED: &str = "authorization_failed";

/// Where a provider sends the browser back
///
/// For browsers alone. It ends in a redirect to the session's `redirect_url`, or in a page.
#[utoipa::path(get, path = "/api/v1/connect/callback/{auth_config_id}", tag = crate::openapi::PUBLIC,
    params(("auth_config_id" = String, Path, description = "The auth config's id"),
        ("state" = String, Query, description = "From the authorize request"),
        ("code" = Option<String>, Query, description = "The authorization code"),
        ("error" = Option<String>, Query, description = "RFC 6749 §4.1.2.1"),
        ("iss" = Option<String>, Query, description = "RFC 9207")),
    responses((status = 303, description = "On to the partner"), (status = 400, description = "A page")))]
pub(crate) async fn callback(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    Path(auth_config): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let pairs = read_query(uri.query().unwrap_or_default())?;
    let mut brought = Brought::read(&pairs)?;
    let state_hash = digest(&brought.state);
    let found = api.ctx.store.find_session_by_state(&state_hash).await?;
    let session = found.ok_or_else(not_ours)?;
    if session.auth_config_id.to_string() != auth_config {
        fail(&api, &session, "callback_mismatch").await?;
        return Err(not_ours());
    }
    let binding = Binding::sent(&headers, &session, api.ctx.config.is_https())
        .filter(|binding| binding.binds(&session));
    let binding = match (session.status, binding) {
        (SessionStatus::Expired, Some(_)) => {
            return landing::land(&api, &session, Ending::Error(landing::EXPIRED)).await;
        }
        (SessionStatus::Authorizing, Some(binding)) => binding,
        (SessionStatus::Authorizing, None) => return Err(other_browser(&api, &session).await?),
        (_, binding) => return Err(used(binding.as_ref())),
    };
    if session.expires_at <= api.ctx.now() {
        return end(&api, &session, landing::EXPIRED).await;
    }
    let examined = match examine(&api, &session, &mut brought, &pairs).await? {
        Ok(examined) => examined,
        Err(code) => return end(&api, &session, code).await,
    };
    let Some(code) = brought.code else {
        return end(&api, &session, REFUSED).await;
    };
    let taken = Taken {
        state_hash,
        code,
        examined,
    };
    take(&api, &session, taken, &binding, id).await
}

/// What the browser brought. Debug shows nothing of it.
struct Brought {
    state: String,
    code: Option<SecretString>,
    error: Option<String>,
    iss: Option<String>,
}

/// The query, decoded.
fn read_query(query: &str) -> Result<Vec<(String, String)>> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    if pairs.len() > MAX_PAIRS {
        return Err(not_ours());
    }
    Ok(pairs)
}

impl Brought {
    /// Picks out what is ours. Providers add parameters of their own; ours may come once (RFC 6749 §3.1).
    fn read(pairs: &[(String, String)]) -> Result<Self> {
        let (mut state, mut code, mut error, mut iss) = (None, None, None, None);
        for (name, value) in pairs {
            let (slot, max) = match &**name {
                "state" => (&mut state, MAX_SHORT),
                "code" => (&mut code, MAX_CODE),
                "error" => (&mut error, MAX_SHORT),
                "iss" => (&mut iss, MAX_SHORT),
                _ => continue,
            };
            if slot.is_some() || value.len() > max {
                return Err(not_ours());
            }
            *slot = Some(value.clone()).filter(|value| !value.is_empty());
        }
        Ok(Self {
            state: state.ok_or_else(not_ours)?,
            code: code.map(SecretString::from),
            error,
            iss,
        })
    }
}

/// What a genuine consent tells beside its code.
struct Examined {
    /// The session's parameters, with what the callback brought.
    params: JsonMap,
    /// For how long the code works, where the entry says.
    code_life: Option<Duration>,
}

/// Examines the provider's answer: what it tells, or, where it is no consent, the code of the redirect.
async fn examine(
    api: &Api,
    session: &SessionRow,
    brought: &mut Brought,
    pairs: &[(String, String)],
) -> Result<std::result::Result<Examined, &'static str>> {
    let (partner, id) = (session.partner_id, session.auth_config_id);
    let config = api.ctx.store.get_usable_auth_config(partner, id).await?;
    let provider = api.ctx.catalog.get(&session.provider);
    let Some((config, provider)) = config.zip(provider) else {
        return Ok(Err(REFUSED));
    };
    let none = JsonMap::new();
    let vars = Vars {
        client_id: &config.client_id,
        app: &config.params,
        connection: &session.params,
        token: &none,
    };
    let spec = provider.spec(&config.params);
    if let Err(error) = check_issuer(spec, &vars, brought.iss.as_deref()) {
        tracing::warn!(session = %session.id, provider = session.provider, %error, "callback refused");
        return Ok(Err("issuer_mismatch"));
    }
    if let Some(error) = brought.error.as_deref() {
        tracing::info!(session = %session.id, provider = session.provider, error, "the provider refused");
        return Ok(Err(redirect_code(error)));
    }
    let callback = &spec.callback;
    if callback.code_param != "code" {
        let found = pairs.iter().find(|(name, _)| *name == callback.code_param);
        let code = found.map(|(_, code)| code.clone());
        brought.code = code
            .filter(|code| code.len() <= MAX_CODE)
            .map(SecretString::from);
    }
    if let Some(check) = callback.check
        && !is_genuine(api, &config, check, pairs).await?
    {
        tracing::warn!(session = %session.id, provider = session.provider, "callback not signed as it should be");
        return Ok(Err("callback_mismatch"));
    }
    let mut params = session.params.clone();
    match captured(callback, pairs) {
        Ok(captured) => params.extend(captured),
        Err(error) => {
            tracing::warn!(session = %session.id, provider = session.provider, %error, "callback refused");
            return Ok(Err("callback_mismatch"));
        }
    }
    let code_life = spec.token.code_ttl_s.map(Duration::from_secs);
    Ok(Ok(Examined { params, code_life }))
}

/// Whether a callback is signed with the client's secret, as some providers do.
async fn is_genuine(
    api: &Api,
    config: &AuthConfigRow,
    check: CallbackCheck,
    pairs: &[(String, String)],
) -> Result<bool> {
    let Some(sealed) = &config.client_secret else {
        return Ok(false);
    };
    let (partner, row) = (config.partner_id, config.id.to_string());
    let sealer = &api.ctx.sealer;
    let secret = sealer
        .open(partner, "auth_configs", "client_secret", &row, 0, sealed)
        .await?;
    Ok(match check {
        CallbackCheck::ShopifyHmac => quirks::shopify::is_signed(pairs, secret.expose_secret()),
    })
}

/// What is taken of a callback.
struct Taken {
    state_hash: [u8; 32],
    code: SecretString,
    examined: Examined,
}

/// The code that partners see for a provider's: RFC 6749 §4.1.2.1, and how some providers say "no".
fn redirect_code(error: &str) -> &'static str {
    match error {
        "access_denied"
        | "user_denied"
        | "consent_required"
        | "user_cancelled_login"
        | "user_cancelled_authorize" => "access_denied",
        "invalid_scope" => "invalid_scope",
        "temporarily_unavailable" | "server_error" => "provider_unavailable",
        _ => REFUSED,
    }
}

/// Takes the code: it is exchanged at once, or when the partner's backend has confirmed.
async fn take(
    api: &Api,
    session: &SessionRow,
    taken: Taken,
    binding: &Binding,
    id: RequestId,
) -> Result<Response> {
    let (row, plain) = (session.id.to_string(), taken.code.expose_secret());
    let sealer = &api.ctx.sealer;
    let sealed = sealer
        .seal(
            session.partner_id,
            "connect_sessions",
            "code",
            &row,
            0,
            plain.as_bytes(),
        )
        .await?;
    let completion = random_token(&*api.ctx.entropy);
    let job = exchange::job(api, session, id)?;
    let then = match session.confirmation {
        Confirmation::None => AfterCode::Exchange(Box::new(job.clone())),
        Confirmation::Partner => AfterCode::AwaitConfirmation(digest(completion.expose_secret())),
    };
    let now = api.ctx.now();
    let code_ends = taken.examined.code_life.map(|life| now + life);
    let take = TakeCode {
        partner_id: session.partner_id,
        session_id: session.id,
        state_hash: taken.state_hash,
        code: sealed,
        params: taken.examined.params,
        then,
        expires_at: code_ends.map_or(session.expires_at, |end| end.min(session.expires_at)),
        now,
    };
    if !api.ctx.store.take_code(&take).await? {
        return Err(used(Some(binding)));
    }
    if session.confirmation == Confirmation::Partner {
        return landing::land(api, session, Ending::Confirm(&completion)).await;
    }
    match exchange::run(api, &job, id).await {
        Some(answer) => {
            let ending = answer
                .error
                .as_deref()
                .map_or(Ending::Success, Ending::Error);
            landing::land(api, session, ending).await
        }
        None => Ok(go_to(&binding.status_path())),
    }
}

/// Fails the session and leads back to the partner.
async fn end(api: &Api, session: &SessionRow, code: &str) -> Result<Response> {
    fail(api, session, code).await?;
    landing::land(api, session, Ending::Error(code)).await
}

/// Fails a session that still waits for its callback; the state is dead with it.
async fn fail(api: &Api, session: &SessionRow, code: &str) -> Result<()> {
    if session.status == SessionStatus::Authorizing {
        let (partner, now) = (session.partner_id, api.ctx.now());
        api.ctx
            .store
            .fail_session(partner, session.id, code, now)
            .await?;
    }
    Ok(())
}

/// The state is not one that this callback waits for.
fn not_ours() -> PageError {
    PageError::new(
        StatusCode::BAD_REQUEST,
        "This answer is not expected here",
        "It belongs to nothing that was begun here, or it is too old. Go back to where you came from and start \
         again.",
    )
}

/// The state worked before; its own browser may see how it went.
fn used(binding: Option<&Binding>) -> PageError {
    let page = PageError::new(
        StatusCode::BAD_REQUEST,
        "This answer was used",
        "It works once. Nothing was done now.",
    );
    match binding {
        Some(binding) => page
            .next("See how it went", binding.status_path())
            .followed(),
        None => page,
    }
}

/// Somebody else's consent, or this user's in another browser: both end here.
async fn other_browser(api: &Api, session: &SessionRow) -> Result<PageError> {
    tracing::warn!(session = %session.id, provider = session.provider, "callback in another browser");
    fail(api, session, "browser_mismatch").await?;
    Ok(PageError::new(
        StatusCode::FORBIDDEN,
        "This was begun in another browser",
        "You agreed at the provider, but the request came from another browser or person, so nothing was \
         connected. If you began it yourself, start again and stay in one browser. If somebody sent you a \
         link, do not use it.",
    ))
}
