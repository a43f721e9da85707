//! `POST /oauth/token`: the code exchange and the refresh (RFC 6749 §4.1.3, §6; RFC 7636 §4.5).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::HeaderMap;
use latchkey_domain::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    clients::Client,
    counters::Counter,
    events::{EventKind, Happened},
    faults::{Target, under_faults},
    form::{Form, OAuthError, authenticate, no_store},
    grants::{Issued, Refusal},
    settings::Settings,
    state::{Shared, lock, pause},
    tokens::RefreshClaims,
};

/// The success answer of RFC 6749 §5.1.
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: String,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_expires_in: Option<u64>,
    scope: &'a str,
}

impl<'a> TokenAnswer<'a> {
    /// Mints the tokens of `issued`.
    fn mint(
        shared: &Shared,
        settings: &Settings,
        issued: &Issued,
        scope: &'a str,
        now: Timestamp,
    ) -> Self {
        let life = now.until(issued.access.expires_at).as_secs();
        let refresh_life = settings
            .refresh_lifetime()
            .filter(|_| issued.refresh.is_some());
        Self {
            access_token: shared.minter.access(issued.access),
            token_type: "Bearer",
            expires_in: (!settings.omit_expires_in).then_some(life),
            refresh_token: issued.refresh.map(|claims| shared.minter.refresh(claims)),
            refresh_token_expires_in: refresh_life.map(|life| life.as_secs()),
            scope,
        }
    }
}

/// Handler.
pub(crate) async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.counters.add(Counter::TokenRequests, 1);
    let form = Form::of_body(&headers, &body);
    let field = |name| form.as_ref().ok().and_then(|form| form.get(name));
    let target = match field("grant_type") {
        Some("refresh_token") => Target::Refresh,
        _ => Target::Exchange,
    };
    let claims = field("refresh_token").and_then(|token| shared.minter.read_refresh(token));
    let presented = claims.map(|claims| Presentation::begin(shared.clone(), claims));
    let act = act(&shared, &headers, form, presented.clone());
    under_faults(&shared, target, act).await
}

async fn act(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    form: Result<Form<'_>, OAuthError>,
    presented: Option<Arc<Presentation>>,
) -> Response {
    let settings = shared.settings();
    if settings.token_hold_ms == 0 {
        return process(shared, &settings, headers, form, presented).await;
    }
    // A task of its own: like a slow provider it acts even when the client has gone away.
    let (shared, headers) = (shared.clone(), headers.clone());
    let form = form.map(Form::into_owned);
    let held = async move { process(&shared, &settings, &headers, form, presented).await };
    match tokio::spawn(held).await {
        Ok(answer) => answer,
        Err(_) => OAuthError::new("temporarily_unavailable", "stopping").into_response(),
    }
}

async fn process(
    shared: &Shared,
    settings: &Settings,
    headers: &HeaderMap,
    form: Result<Form<'_>, OAuthError>,
    presented: Option<Arc<Presentation>>,
) -> Response {
    pause(settings.token_hold_ms).await;
    let claims = presented.as_ref().map(|presented| presented.claims);
    let answered = form.and_then(|form| grant(shared, settings, headers, &form, claims));
    let answer = answered.unwrap_or_else(|error| {
        shared.counters.add(Counter::TokenRefused, 1);
        let refused = Happened {
            grant: claims.map(|claims| claims.grant),
            detail: format!("{}: {}", error.code, error.description).into(),
            ..Happened::default()
        };
        shared.note(EventKind::Refused, refused);
        error.into_response()
    });
    pause(settings.token_latency_ms).await;
    answer
}

fn grant(
    shared: &Shared,
    settings: &Settings,
    headers: &HeaderMap,
    form: &Form<'_>,
    claims: Option<RefreshClaims>,
) -> Result<Response, OAuthError> {
    let client = authenticate(shared, headers, form)?;
    match form.need("grant_type")? {
        "authorization_code" => exchange(shared, settings, &client, form),
        "refresh_token" => refresh(shared, settings, &client, form, claims),
        _ => Err(OAuthError::new(
            "unsupported_grant_type",
            "grant_type must be authorization_code or refresh_token",
        )),
    }
}

fn exchange(
    shared: &Shared,
    settings: &Settings,
    client: &Client,
    form: &Form<'_>,
) -> Result<Response, OAuthError> {
    let now = shared.now();
    let presented = form.need("code")?.to_owned();
    let redirect_uri = form.need("redirect_uri")?;
    let mut codes = lock(&shared.codes);
    let code = codes
        .get_mut(&presented, now)
        .filter(|code| *code.consent.client == *client.client_id)
        .ok_or(OAuthError::grant("unknown or expired code"))?;
    if let Some(grant) = code.used_for {
        // RFC 6749 §4.1.2: what the first use issued is revoked.
        if lock(&shared.grants).end(grant) {
            shared.counters.add(Counter::Revocations, 1);
        }
        return Err(OAuthError::grant("the code was used before"));
    }
    if code.redirect_uri != redirect_uri {
        return Err(OAuthError::grant(
            "redirect_uri differs from the authorization request",
        ));
    }
    check_verifier(code.challenge.as_deref(), form.get("code_verifier"))?;
    let issued = lock(&shared.grants)
        .make(code.consent.clone(), settings, now)
        .ok_or(OAuthError::new(
            "temporarily_unavailable",
            "the sandbox is full of grants",
        ))?;
    code.used_for = Some(issued.access.grant);
    drop(codes);
    let answer = TokenAnswer::mint(shared, settings, &issued, &issued.scope, now);
    told(shared, Counter::TokenExchange, EventKind::Exchange, &issued);
    Ok((no_store(), Json(answer)).into_response())
}

fn refresh(
    shared: &Shared,
    settings: &Settings,
    client: &Client,
    form: &Form<'_>,
    claims: Option<RefreshClaims>,
) -> Result<Response, OAuthError> {
    form.need("refresh_token")?;
    let now = shared.now();
    let unknown = "unknown refresh token";
    let claims = claims.ok_or(OAuthError::grant(unknown))?;
    let scope = form.get("scope");
    let refreshed = lock(&shared.grants).refresh(claims, &client.client_id, scope, settings, now);
    let issued = refreshed.map_err(|refusal| match refusal {
        Refusal::Unknown => OAuthError::grant(unknown),
        Refusal::Ended => OAuthError::grant("the grant was revoked"),
        Refusal::Expired => OAuthError::grant("the refresh token expired"),
        Refusal::Reused => {
            shared.counters.add(Counter::RefreshReuse, 1);
            let reused = Happened {
                grant: Some(claims.grant),
                generation: Some(claims.generation),
                ..Happened::default()
            };
            shared.note(EventKind::Reuse, reused);
            OAuthError::grant("the refresh token was used before")
        }
        Refusal::Scope => OAuthError::new("invalid_scope", "more scope than was granted"),
    })?;
    let (counter, kind) = if issued.again {
        (Counter::RefreshGrace, EventKind::RefreshGrace)
    } else {
        (Counter::TokenRefresh, EventKind::Refresh)
    };
    let scope = scope.unwrap_or(&issued.scope);
    let answer = TokenAnswer::mint(shared, settings, &issued, scope, now);
    told(shared, counter, kind, &issued);
    Ok((no_store(), Json(answer)).into_response())
}

/// Notes the event, then counts it: who waits for the number finds the event.
fn told(shared: &Shared, counter: Counter, kind: EventKind, issued: &Issued) {
    let happened = Happened {
        grant: Some(issued.access.grant),
        generation: Some(issued.generation),
        user: Some(issued.user.clone()),
        ..Happened::default()
    };
    shared.note(kind, happened);
    shared.counters.add(counter, 1);
}

/// RFC 7636 §4.6; a verifier without a challenge is refused as a downgrade (RFC 9700 §2.1.1).
fn check_verifier(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), OAuthError> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(OAuthError::grant(
            "a code_verifier for a code without challenge",
        )),
        (Some(_), None) => Err(OAuthError::request("parameter 'code_verifier' is missing")),
        (Some(challenge), Some(verifier)) => {
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            let proper = (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved);
            let digest = Sha256::digest(verifier.as_bytes());
            if proper && URL_SAFE_NO_PAD.encode(digest) == challenge {
                Ok(())
            } else {
                Err(OAuthError::grant(
                    "code_verifier does not fit the challenge",
                ))
            }
        }
    }
}

/// A refresh token in process: from its arrival until its answer is ready and its act, which may outlive
/// the client, is done.
struct Presentation {
    shared: Arc<Shared>,
    claims: RefreshClaims,
}

impl Presentation {
    fn begin(shared: Arc<Shared>, claims: RefreshClaims) -> Arc<Self> {
        let overlaps = lock(&shared.grants).present(claims);
        if overlaps {
            shared.counters.add(Counter::RefreshOverlap, 1);
            let overlap = Happened {
                grant: Some(claims.grant),
                generation: Some(claims.generation),
                ..Happened::default()
            };
            shared.note(EventKind::Overlap, overlap);
        }
        Arc::new(Self { shared, claims })
    }
}

impl Drop for Presentation {
    fn drop(&mut self) {
        lock(&self.shared.grants).processed(self.claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_fit_their_challenge() {
        // The pair of RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(check_verifier(challenge, Some(verifier)).is_ok());
        assert!(check_verifier(challenge, Some(&verifier[1..])).is_err());
        assert!(check_verifier(challenge, None).is_err());
        assert!(check_verifier(None, Some(verifier)).is_err());
        assert!(check_verifier(None, None).is_ok());
    }
}
