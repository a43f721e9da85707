//! `GET /oauth/authorize`: checks an authorization request (RFC 6749 §4.1.1, RFC 7636) and shows the
//! consent page. What cannot be trusted is an error page and never a redirect.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use url::Url;

use crate::{
    counters::Counter,
    events::{EventKind, Happened},
    faults::{ForcedError, Target, under_faults},
    form::Form,
    limits::{MAX_NAME, MAX_SCOPE, MAX_STATE},
    pages,
    routes::decision::{DEFAULT_USER, consent},
    settings::IssMode,
    state::{Ask, Shared, lock},
    tokens,
};

/// The scopes of the sandbox's own API. Others are granted too, so that a catalogue file can use its own
/// words.
pub(crate) const SCOPES: [&str; 3] = ["profile", "messages.read", "messages.write"];

/// Why a request goes no further.
enum Refused {
    /// Shown to the person: there is nowhere to redirect to.
    Page(&'static str),
    /// Told to the client.
    Redirect {
        redirect_uri: String,
        state: Option<String>,
        code: &'static str,
        description: Cow<'static, str>,
    },
}

/// Handler.
pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    shared.counters.add(Counter::AuthorizeRequests, 1);
    let query = query.unwrap_or_default();
    match check(&shared, &query) {
        Ok((ask, at_once)) => {
            let (uri, state) = (ask.redirect_uri.clone(), ask.state.clone());
            let act = async { proceed(&shared, ask, at_once) };
            let answer = under_faults(&shared, Target::Authorize, act).await;
            match answer.extensions().get::<ForcedError>() {
                Some(ForcedError(code)) => {
                    redirect(&shared, &uri, state.as_deref(), &[("error", code)])
                }
                None => answer,
            }
        }
        Err(Refused::Page(text)) => pages::error(text),
        Err(Refused::Redirect {
            redirect_uri,
            state,
            code,
            description,
        }) => {
            let told = [("error", code), ("error_description", &*description)];
            redirect(&shared, &redirect_uri, state.as_deref(), &told)
        }
    }
}

/// Shows the page, or consents at once.
fn proceed(shared: &Shared, ask: Ask, at_once: bool) -> Response {
    let asked = Happened {
        detail: format!("{} asks for {}", ask.client_id, ask.scope).into(),
        ..Happened::default()
    };
    shared.note(EventKind::Authorize, asked);
    let hinted = ask.login_hint.clone().filter(|hint| is_user(hint));
    let user = hinted.as_deref().unwrap_or(DEFAULT_USER);
    if at_once {
        return consent(shared, ask, user);
    }
    let ticket = tokens::random(&*shared.entropy);
    let page = pages::consent(&ask, &ticket, user);
    lock(&shared.asks).insert(ticket, ask, shared.now());
    page
}

/// Checks the request; says also whether consent comes without a page.
fn check(shared: &Shared, query: &str) -> Result<(Ask, bool), Refused> {
    let form = Form::of_pairs(query.as_bytes())
        .map_err(|_| Refused::Page("A parameter of the request is there twice."))?;
    let client = form.get("client_id").and_then(|id| shared.clients.get(id));
    let client = client.ok_or(Refused::Page("The request names no known client."))?;
    let redirect_uri = form
        .get("redirect_uri")
        .filter(|uri| client.allows(uri))
        .ok_or(Refused::Page(
            "The redirect URI is not one of the client's.",
        ))?;
    let state = form.get("state");
    if state.is_some_and(|state| state.len() > MAX_STATE) {
        return Err(Refused::Page("The state is too long."));
    }
    let refuse = |code, description: Cow<'static, str>| Refused::Redirect {
        redirect_uri: redirect_uri.to_owned(),
        state: state.map(str::to_owned),
        code,
        description,
    };
    if form.get("response_type") != Some("code") {
        return Err(refuse(
            "unsupported_response_type",
            "response_type must be code".into(),
        ));
    }
    let settings = shared.settings();
    let challenge = form.get("code_challenge");
    let method = form.get("code_challenge_method");
    match (challenge, method) {
        (None, None) if !settings.require_pkce => {}
        // A SHA-256 digest in base64url has 43 characters.
        (Some(challenge), Some("S256")) if challenge.len() == 43 => {}
        _ => {
            let wanted = "a code_challenge with code_challenge_method=S256 is required";
            return Err(refuse("invalid_request", wanted.into()));
        }
    }
    let scope = form
        .get("scope")
        .map_or_else(|| SCOPES.join(" "), str::to_owned);
    if !is_scope(&scope) {
        return Err(refuse("invalid_scope", "the scope is malformed".into()));
    }
    let at_once = settings.auto_consent || form.get("prompt") == Some("none");
    let ask = Ask {
        client_id: client.client_id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        scope,
        state: state.map(str::to_owned),
        challenge: challenge.map(str::to_owned),
        login_hint: form.get("login_hint").map(str::to_owned),
        dialect: None,
    };
    Ok((ask, at_once))
}

/// The form of RFC 6749 §3.3: words of printable characters without quotes and backslashes.
pub(crate) fn is_scope(scope: &str) -> bool {
    let character = |b: u8| b == 0x21 || (0x23..=0x5B).contains(&b) || (0x5D..=0x7E).contains(&b);
    scope.len() <= MAX_SCOPE
        && scope
            .split(' ')
            .all(|word| !word.is_empty() && word.bytes().all(character))
}

/// Whether this may name a user: letters, digits and the signs of e-mail addresses.
pub(crate) fn is_user(name: &str) -> bool {
    let sign = |c: char| c.is_alphanumeric() || "._@+-".contains(c);
    (1..=MAX_NAME).contains(&name.chars().count()) && name.chars().all(sign)
}

/// Sends the browser back to the client with these parameters, the state and our issuer (RFC 9207).
pub(crate) fn redirect(
    shared: &Shared,
    redirect_uri: &str,
    state: Option<&str>,
    told: &[(&str, &str)],
) -> Response {
    // Registered URIs were checked to parse; anything else ends on the page.
    let Ok(mut url) = Url::parse(redirect_uri) else {
        return pages::error("The redirect URI is broken.");
    };
    let iss = match shared.settings().iss {
        IssMode::Right => Some(&*shared.base_url),
        IssMode::Wrong => Some("https://somebody-else.example"),
        IssMode::Omit => None,
    };
    url.query_pairs_mut()
        .extend_pairs(told)
        .extend_pairs(state.map(|state| ("state", state)))
        .extend_pairs(iss.map(|iss| ("iss", iss)));
    // A URL's text is ASCII without control characters.
    let Ok(location) = HeaderValue::from_str(url.as_str()) else {
        return pages::error("The redirect URI is broken.");
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_users_have_a_form() {
        for good in ["a", "messages.read https://x.example/auth/mail", "a:b,c"] {
            assert!(is_scope(good), "{good}");
        }
        for bad in ["", "a  b", " a", "a\"b", "a\\b", "a\nb", "é"] {
            assert!(!is_scope(bad), "{bad}");
        }
        assert!(!is_scope(&"x".repeat(MAX_SCOPE + 1)));
        assert!(is_user("ada") && is_user("Ada.Lovelace+1@example.com") && is_user("zoë"));
        assert!(!is_user("") && !is_user("a b") && !is_user("<b>"));
    }
}
