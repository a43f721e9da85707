//! The authorization endpoint of a dialect: which parameters it takes, in which words, and what it brings back.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use latchkey_oauth::{
    OauthSpec,
    spec::{CallbackCheck, PkceMode, ScopeSeparator},
};
use latchkey_providers::quirks;
use url::Url;

use super::{Asked, Dialect, grants::Consent};
use crate::{
    counters::Counter,
    pages,
    routes::decision::DEFAULT_USER,
    state::{Ask, Shared, lock},
    tokens,
};

/// What the consent page must know of a dialect.
#[derive(Clone, Debug)]
pub(crate) struct DialectAsk {
    slug: String,
    kind: Option<String>,
    scopes: Vec<String>,
}

/// The parameters of RFC 6749 and RFC 7636, by the names that every client knows.
const STANDARD: [&str; 7] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];

/// Handler.
pub(super) fn authorize(
    shared: &Shared,
    dialect: &Dialect,
    specs: &[(Option<&str>, &OauthSpec)],
    asked: &Asked,
) -> Response {
    shared.counters.add(Counter::AuthorizeRequests, 1);
    // Kinds may share the address; one without scopes is told by their absence.
    let here: Vec<_> = specs
        .iter()
        .filter(|(_, spec)| asked.is_at(&spec.authorize.url))
        .collect();
    let scoped = |spec: &OauthSpec| asked.query(name_of(spec, "scope")).is_some();
    let fitting = here
        .iter()
        .find(|(_, spec)| scoped(spec) != drops(spec, "scope"));
    let Some((kind, spec)) = fitting.or(here.first()).map(|found| **found) else {
        return pages::error("There is no such page.");
    };
    let client_id = asked.query(name_of(spec, "client_id")).unwrap_or_default();
    let redirect_uri = asked
        .query(name_of(spec, "redirect_uri"))
        .unwrap_or_default();
    let known = shared.clients.get(client_id);
    if !known.is_some_and(|client| client.allows(redirect_uri)) {
        return pages::error("The client is unknown, or this is not its redirect URI.");
    }
    let state = asked.query(name_of(spec, "state")).map(str::to_owned);
    let scopes = match check(spec, asked) {
        Ok(scopes) => scopes,
        Err((code, text)) => {
            let told = [("error", code), ("error_description", text.as_str())];
            let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
            return back(redirect_uri, told.to_vec(), state.as_deref());
        }
    };
    let ask = Ask {
        client_id: client_id.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        scope: scopes.join(" "),
        state,
        challenge: asked
            .query(name_of(spec, "code_challenge"))
            .map(str::to_owned),
        login_hint: None,
        dialect: Some(DialectAsk {
            slug: dialect.provider.slug.clone(),
            kind: kind.map(str::to_owned),
            scopes,
        }),
    };
    if shared.settings().auto_consent {
        return consent(shared, ask, DEFAULT_USER);
    }
    let ticket = tokens::random(&*shared.entropy);
    let page = pages::consent(&ask, &ticket, DEFAULT_USER);
    lock(&shared.asks).insert(ticket, ask, shared.now());
    page
}

fn name_of<'a>(spec: &'a OauthSpec, standard: &'a str) -> &'a str {
    let renamed = spec.authorize.rename_params.get(standard);
    renamed.map_or(standard, String::as_str)
}

fn drops(spec: &OauthSpec, name: &str) -> bool {
    spec.authorize
        .drop_params
        .iter()
        .any(|dropped| dropped == name)
}

/// The scopes asked for, if everything is as the provider wants it.
fn check(spec: &OauthSpec, asked: &Asked) -> Result<Vec<String>, (&'static str, String)> {
    let entry = &spec.authorize;
    let wrong = |text: String| Err(("invalid_request", text));
    for (name, value) in &asked.query {
        let standard = STANDARD
            .iter()
            .any(|known| name_of(spec, known) == name && !drops(spec, known));
        let own = entry.params.contains_key(name) || entry.scope_classes.contains_key(name);
        if !standard && !own {
            return wrong(format!("unexpected parameter '{name}'"));
        }
        if name == name_of(spec, "state")
            && entry.state_max_len.is_some_and(|most| value.len() > most)
        {
            return wrong("the state is too long".to_owned());
        }
    }
    for (name, value) in &entry.params {
        if asked.query(name) != Some(value.to_string().as_str()) {
            return wrong(format!("parameter '{name}' must be '{value}'"));
        }
    }
    if asked.query(name_of(spec, "response_type")) != Some("code") && !drops(spec, "response_type")
    {
        return Err((
            "unsupported_response_type",
            "response_type must be code".to_owned(),
        ));
    }
    let challenge = asked.query(name_of(spec, "code_challenge"));
    let method = asked.query(name_of(spec, "code_challenge_method"));
    match (entry.pkce, challenge, method) {
        (PkceMode::Off | PkceMode::S256, None, None) => {}
        (PkceMode::S256 | PkceMode::Required, Some(challenge), Some("S256"))
            if challenge.len() == 43 => {}
        (PkceMode::Off, ..) => return wrong("this provider takes no code_challenge".to_owned()),
        _ => return wrong("a code_challenge with method S256 is required".to_owned()),
    }
    let mut scopes = Vec::new();
    let own = [(name_of(spec, "scope"), "")];
    let classes = entry
        .scope_classes
        .iter()
        .map(|(name, prefix)| (&**name, &**prefix));
    for (name, prefix) in own.into_iter().chain(classes) {
        let Some(text) = asked.query(name) else {
            continue;
        };
        let other = match entry.scope_separator {
            ScopeSeparator::Space => ',',
            ScopeSeparator::Comma => ' ',
        };
        let stranger = |word: &str| {
            let mut classes = entry.scope_classes.values();
            classes.any(|class| word.starts_with(class.as_str()))
        };
        let words = || text.split(entry.scope_separator.text());
        if text.contains(other) || words().any(stranger) {
            return Err((
                "invalid_scope",
                format!("'{text}' is no list of scopes here"),
            ));
        }
        let words = text
            .split(entry.scope_separator.text())
            .filter(|word| !word.is_empty());
        scopes.extend(words.map(|word| format!("{prefix}{word}")));
    }
    Ok(scopes)
}

/// Gives a code for a consent and sends the browser back with it.
pub(crate) fn consent(shared: &Shared, ask: Ask, user: &str) -> Response {
    let about = ask.dialect.clone();
    let found = about
        .as_ref()
        .and_then(|about| shared.dialects.0.get(&about.slug));
    let (Some(about), Some(dialect)) = (about, found) else {
        return pages::error("This provider is not played here.");
    };
    let specs = super::specs(&dialect.provider);
    let spec = specs
        .iter()
        .find(|(kind, _)| *kind == about.kind.as_deref());
    let Some((_, spec)) = spec else {
        return pages::error("This provider is not played here.");
    };
    let code = tokens::random(&*shared.entropy);
    let callback = &spec.callback;
    let mut told = vec![(callback.code_param.clone(), code.clone())];
    for capture in callback.capture.values() {
        told.push((capture.query.clone(), capture.example.clone()));
    }
    if let Some(issuer) = &spec.issuer {
        told.push(("iss".to_owned(), issuer.expected.to_string()));
    }
    if callback.check == Some(CallbackCheck::ShopifyHmac) {
        told.extend(ask.state.clone().map(|state| ("state".to_owned(), state)));
        let secret = shared
            .clients
            .get(&ask.client_id)
            .map(|client| client.client_secret.clone());
        let signature = quirks::shopify::sign(&told, secret.unwrap_or_default().as_bytes());
        told.retain(|(name, _)| name != "state");
        told.push(("hmac".to_owned(), signature.unwrap_or_default()));
    }
    let answer = back(&ask.redirect_uri, told, ask.state.as_deref());
    let consent = Consent {
        client: ask.client_id,
        user: user.to_owned(),
        scopes: about.scopes,
        kind: about.kind,
        redirect_uri: ask.redirect_uri,
        challenge: ask.challenge,
        at: shared.now(),
    };
    lock(&dialect.grants).give_code(code, consent);
    shared.counters.add(Counter::Consents, 1);
    answer
}

/// Sends the browser back to the client.
fn back(redirect_uri: &str, told: Vec<(String, String)>, state: Option<&str>) -> Response {
    let Ok(mut url) = Url::parse(redirect_uri) else {
        return pages::error("The redirect URI is broken.");
    };
    url.query_pairs_mut()
        .extend_pairs(told)
        .extend_pairs(state.map(|state| ("state", state)));
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::from_str(url.as_str()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
