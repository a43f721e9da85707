//! `/connect/{token}`: who asks whom for what, and the way on to the provider.
//!
//! Showing the page changes nothing but a cookie, so a preview of the link by a mail client does no harm.
//! Its button posts back here; only then state and PKCE pair are made and the session is bound to the
//! browser. The post counts only with the cookie, which a form on another site cannot send (`SameSite=Lax`):
//! nobody is led past this page unasked.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::SET_COOKIE};
use latchkey_domain::RequestId;
use latchkey_domain::states::{AuthConfigStatus, PartnerStatus, SessionStatus};
use latchkey_oauth::{
    AuthorizeRequest, OauthSpec, Pkce, Vars, authorize_url, request::Client, spec::PkceMode,
};
use latchkey_providers::{PermissionKind, Provider};
use latchkey_store::{
    AccountRow, AuthConfigRow, BeginAuthorizing, JsonMap, PartnerRow, Scheme, SessionRow,
};
use latchkey_vault::{digest, random_token};
use secrecy::ExposeSecret;

use super::{
    Escaped, Page, PageError, Result,
    binding::Binding,
    go_to,
    inputs::{Asked, Problem},
};
use crate::{
    error::ApiError,
    extract::{Id, Path},
    flowra::{Adopted, adopt, scheme},
    routes::{
        auth_configs::callback_url,
        connect::landing::{self, Ending},
    },
    state::Api,
};

/// A session that may go on to the provider, with those it is about.
struct Opened {
    session: SessionRow,
    partner: PartnerRow,
    account: AccountRow,
    /// What the connection will hold.
    held: Scheme,
    binding: Option<Binding>,
}

/// What a look at a link leads to.
enum Look {
    /// The session waits for its user.
    Open(Box<Opened>),
    /// It went on already; its browser sees how.
    Elsewhere(Response),
}

/// Shows the page.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let opened = match look(&api, &token, &headers).await? {
        Look::Open(opened) => opened,
        Look::Elsewhere(response) => return Ok(response),
    };
    page(&api, &token, opened, None).await
}

/// The page, with what was wrong with the answers to its questions, if anything was.
async fn page(
    api: &Api,
    token: &str,
    opened: Box<Opened>,
    problem: Option<&Problem>,
) -> Result<Response> {
    let session = &opened.session;
    let config = auth_config(api, session).await?;
    let provider = provider(api, session)?;
    let asked = Asked::of(provider, session, opened.held);
    let form = asked.html(problem);
    let body = describe(&opened, provider, provider.spec(&config.params), &form);
    let title = format!(
        "{} wants to connect to your {} account",
        opened.partner.company, provider.display_name
    );
    let mut page = Page::new(title, body);
    if problem.is_some() {
        page.status = StatusCode::BAD_REQUEST;
    }
    let mut response = page.into_response();
    let binding = match opened.binding {
        Some(binding) => binding,
        None => Binding::new(token, &*api.ctx.entropy),
    };
    let cookie = binding.set(session, api.ctx.now(), api.ctx.config.is_https());
    response
        .headers_mut()
        .extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    Ok(response)
}

/// Sends the browser on to the provider.
pub(crate) async fn go_on(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(token): Path<String>,
    headers: HeaderMap,
    form: Bytes,
) -> Result<Response> {
    let mut opened = match look(&api, &token, &headers).await? {
        Look::Open(opened) => opened,
        Look::Elsewhere(response) => return Ok(response),
    };
    let binding = opened.binding.clone().filter(|_| comes_from_here(&headers)).ok_or_else(|| {
        PageError::new(
            StatusCode::FORBIDDEN,
            "Cookies are needed here",
            "Your browser did not send the cookie that this page set, so we cannot tell that it was you who \
             pressed the button. Allow cookies for this site and open the link again.",
        )
        .next("Open it again", format!("/connect/{token}"))
    })?;
    let config = auth_config(&api, &opened.session).await?;
    let provider = provider(&api, &opened.session)?;
    let asked = Asked::of(provider, &opened.session, opened.held);
    let given = match asked.read(&form) {
        Ok(given) => given,
        Err(problem) => return page(&api, &token, opened, Some(&problem)).await,
    };
    if let Some(params) = given.params {
        opened.session.params = params;
    }
    if opened.held != Scheme::Oauth2 {
        return adopt_given(&api, opened, &binding, &given.fields, request_id, &token).await;
    }
    let session = &opened.session;
    if asked.asks() {
        let store = &api.ctx.store;
        store
            .set_session_params(session, &session.params, api.ctx.now())
            .await?;
    }
    let spec = provider.spec(&config.params);
    let (state, pkce) = (
        random_token(&*api.ctx.entropy),
        Pkce::new(&*api.ctx.entropy),
    );
    let none = JsonMap::new();
    let vars = Vars {
        client_id: &config.client_id,
        app: &config.params,
        connection: &session.params,
        token: &none,
    };
    let request = AuthorizeRequest {
        redirect_uri: &callback_url(&api, config.id),
        scopes: &session.scopes,
        state: state.expose_secret(),
        challenge: &pkce.challenge,
    };
    let url = authorize_url(spec, &Client { secret: None, vars }, &request)
        .map_err(ApiError::internal)?;
    let begun = api
        .ctx
        .store
        .begin_authorizing(&BeginAuthorizing {
            partner_id: session.partner_id,
            session_id: session.id,
            state_hash: digest(state.expose_secret()),
            binding_hash: binding.hash(),
            verifier: sealed_verifier(&api, session, spec, &pkce).await?,
            now: api.ctx.now(),
        })
        .await?;
    if !begun {
        // It ended in this moment: the page says how.
        return Ok(go_to(&format!("/connect/{token}")));
    }
    Ok(go_to(url.as_str()))
}

/// Hands what was given to a worker, which tries it at the provider; the browser waits for the outcome.
async fn adopt_given(
    api: &Api,
    mut opened: Box<Opened>,
    binding: &Binding,
    fields: &JsonMap,
    request_id: RequestId,
    token: &str,
) -> Result<Response> {
    let now = api.ctx.now();
    let tokens = match scheme::tokens(opened.held, "input", fields, &[], now) {
        Ok(tokens) => tokens,
        Err(error) => {
            let problem = Problem::new(error.message);
            return page(api, token, opened, Some(&problem)).await;
        }
    };
    opened.session.binding_hash = Some(binding.hash());
    let session = &opened.session;
    let ending = match adopt(api, session, &tokens, request_id).await? {
        Adopted::Answered(answer) => answer.error,
        Adopted::Later => return Ok(go_to(&binding.status_path())),
        Adopted::Over => return Ok(go_to(&format!("/connect/{token}"))),
    };
    let ending = ending.as_deref().map_or(Ending::Success, Ending::Error);
    landing::land(api, session, ending).await
}

/// Finds the session of a link and sees whether this browser may go on with it.
async fn look(api: &Api, token: &str, headers: &HeaderMap) -> Result<Look> {
    let store = &api.ctx.store;
    let session = store
        .find_session_by_link(&digest(token))
        .await?
        .ok_or_else(PageError::unknown)?;
    let binding = Binding::sent(headers, &session, api.ctx.config.is_https());
    let bound = binding
        .as_ref()
        .is_some_and(|binding| binding.binds(&session));
    let is_open = matches!(
        session.status,
        SessionStatus::Pending | SessionStatus::Authorizing
    );
    if session.status == SessionStatus::Expired || (is_open && session.expires_at <= api.ctx.now())
    {
        return Err(expired(api, &session).await?);
    }
    if !is_open && bound {
        return Ok(Look::Elsewhere(go_to(&format!("/connect/{token}/status"))));
    }
    if !is_open {
        return Err(PageError::new(
            StatusCode::GONE,
            "This link was used",
            "It works once. Go back to where you came from to see how it went, or to start again.",
        ));
    }
    if session.status == SessionStatus::Authorizing && !bound {
        return Err(PageError::new(
            StatusCode::FORBIDDEN,
            "This link was opened in another browser",
            "Go on there, or go back to where you came from and start again. If you did not start this \
             yourself, close this page.",
        ));
    }
    let partner = store.get_partner(session.partner_id).await?;
    let link = store
        .get_session_link(session.partner_id, session.id)
        .await?;
    let account = store
        .get_account(session.partner_id, session.account_id)
        .await?;
    match (partner, account) {
        (Some(partner), Some(account)) if partner.status == PartnerStatus::Active => {
            Ok(Look::Open(Box::new(Opened {
                session,
                partner,
                account,
                held: link.map_or(Scheme::Oauth2, |link| link.scheme),
                binding,
            })))
        }
        _ => Err(unavailable()),
    }
}

/// Whether the browser says that the request comes from a page of ours. Those that say nothing are trusted
/// by their cookie alone.
fn comes_from_here(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin")
}

/// The error page of a session whose time is over, with the way back to the partner.
async fn expired(api: &Api, session: &SessionRow) -> Result<PageError> {
    let page = PageError::new(
        StatusCode::GONE,
        "This link has expired",
        "It was good for a limited time. Go back to where you came from and start again.",
    );
    let back = landing::address(api, session, landing::Ending::Error(landing::EXPIRED)).await?;
    Ok(match back {
        Some(url) => page.next("Back", url.into()),
        None => page,
    })
}

fn unavailable() -> PageError {
    PageError::new(
        StatusCode::FORBIDDEN,
        "This cannot be connected now",
        "The application that sent you here, or its connection to this service, is switched off. Go back and \
         ask there.",
    )
}

fn provider<'a>(api: &'a Api, session: &SessionRow) -> Result<&'a Provider> {
    api.ctx
        .catalog
        .get(&session.provider)
        .ok_or_else(unavailable)
}

async fn auth_config(api: &Api, session: &SessionRow) -> Result<AuthConfigRow> {
    let (partner, id) = (session.partner_id, session.auth_config_id);
    let config = api.ctx.store.get_usable_auth_config(partner, id).await?;
    config
        .filter(|config| config.status == AuthConfigStatus::Enabled)
        .ok_or_else(unavailable)
}

async fn sealed_verifier(
    api: &Api,
    session: &SessionRow,
    spec: &OauthSpec,
    pkce: &Pkce,
) -> Result<Option<Vec<u8>>> {
    if spec.authorize.pkce == PkceMode::Off {
        return Ok(None);
    }
    let (row, verifier) = (session.id.to_string(), pkce.verifier.expose_secret());
    let sealer = &api.ctx.sealer;
    let sealed = sealer.seal(
        session.partner_id,
        "connect_sessions",
        "verifier",
        &row,
        0,
        verifier.as_bytes(),
    );
    Ok(Some(sealed.await?))
}

/// Who asks whom for what.
fn describe(opened: &Opened, provider: &Provider, spec: &OauthSpec, form: &str) -> String {
    let Opened {
        session,
        partner,
        account,
        ..
    } = opened;
    let who = account
        .display_name
        .as_deref()
        .unwrap_or(&account.external_id);
    let (company, name) = (Escaped(&partner.company), Escaped(&provider.display_name));
    let mut body = format!(
        "<p><strong>{company}</strong> (<span class=\"dim\">{}</span>) asks to use a <strong>{name}</strong> \
         account for its user <strong>{}</strong>.</p>",
        Escaped(&partner.website),
        Escaped(who),
    );
    if opened.held != Scheme::Oauth2 {
        // There is no consent at the provider: what is given is what is granted.
        let _ = write!(
            body,
            "<p>What you enter here is kept sealed and used for {company} alone. Go on only if you started this \
             at {company} yourself and are <strong>{}</strong> there: whoever sent you a link like this \
             otherwise would get access to your account.</p>\
             <form method=\"post\">{form}<button type=\"submit\">Connect {name}</button></form>\
             <p class=\"dim\">You can end the access at any time, at {company} or in your {name} account.</p>",
            Escaped(who),
        );
        return body;
    }
    body.push_str(&asked_for(session, provider, spec));
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "<p>{name} will show you what it grants and ask you. Go on only if you started this at {company} \
         yourself and are <strong>{}</strong> there: whoever sent you a link like this otherwise would get \
         access to your account.</p>\
         <form method=\"post\">{form}<button type=\"submit\">Continue to {name}</button></form>\
         <p class=\"dim\">You can end the access at any time, at {company} or in your {name} account.</p>",
        Escaped(who),
    );
    body
}

/// The permissions in words; scopes that no permission stands for as they are.
fn asked_for(session: &SessionRow, provider: &Provider, spec: &OauthSpec) -> String {
    let granted = provider.granted(spec, &session.scopes);
    let mut items = String::new();
    let mut covered: Vec<&str> = provider.base_scopes.iter().map(String::as_str).collect();
    for service in &provider.services {
        for permission in &service.permissions {
            if granted.get(&permission.id) != Some(&true) {
                continue;
            }
            covered.extend(
                permission
                    .scopes
                    .iter()
                    .chain(&permission.implied_by)
                    .map(String::as_str),
            );
            let verb = match permission.kind {
                PermissionKind::Read => "read your data",
                PermissionKind::Write => "act for you",
            };
            // Writing to a String cannot fail.
            let _ = write!(
                items,
                "<li>{verb} in <strong>{}</strong> <span class=\"dim\">({})</span></li>",
                Escaped(&service.slug),
                Escaped(&permission.id),
            );
        }
    }
    for scope in session
        .scopes
        .iter()
        .filter(|scope| !covered.contains(&scope.as_str()))
    {
        let _ = write!(
            items,
            "<li>what {} calls <code>{}</code></li>",
            Escaped(&provider.display_name),
            Escaped(scope)
        );
    }
    if items.is_empty() {
        return String::new();
    }
    format!("<div class=\"box\"><p>It asks to:</p><ul>{items}</ul></div>")
}
