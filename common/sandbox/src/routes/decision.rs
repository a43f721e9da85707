//! `POST /oauth/authorize/decision`: what the person decided on the consent page, and how a consent
//! becomes a code.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::HeaderMap;

use crate::{
    counters::Counter,
    dialect,
    events::{EventKind, Happened},
    form::Form,
    grants::Consent,
    pages,
    routes::authorize::{is_user, redirect},
    state::{Ask, Code, Shared, lock},
    tokens,
};

/// Who consents when the request names nobody.
pub(crate) const DEFAULT_USER: &str = "ada";

/// Handler. The form holds the page's one-time ticket (`consent`), the `user` and the `decision`.
pub(crate) async fn decide(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(form) = Form::of_body(&headers, &body) else {
        return pages::error("The form is broken.");
    };
    let user = form.get("user").unwrap_or(DEFAULT_USER);
    if !is_user(user) {
        return pages::error("A user name has up to 255 letters, digits and the signs . _ @ + -");
    }
    let allow = match form.get("decision") {
        Some("allow") => true,
        Some("deny") => false,
        _ => return pages::error("Choose Allow or Deny."),
    };
    let ticket = form.get("consent").unwrap_or_default().to_owned();
    let Some(ask) = lock(&shared.asks).take(&ticket, shared.now()) else {
        return pages::error("This page was answered already, or it is too old. Start again.");
    };
    if allow {
        return consent(&shared, ask, user);
    }
    shared.note(EventKind::Deny, of_user(user));
    shared.counters.add(Counter::Denials, 1);
    let told = [
        ("error", "access_denied"),
        ("error_description", "the user denied"),
    ];
    redirect(&shared, &ask.redirect_uri, ask.state.as_deref(), &told)
}

/// Gives a code for this user's consent and sends the browser back with it.
pub(crate) fn consent(shared: &Shared, ask: Ask, user: &str) -> Response {
    if ask.dialect.is_some() {
        return dialect::consent(shared, ask, user);
    }
    let text = tokens::random(&*shared.entropy);
    let answer = redirect(
        shared,
        &ask.redirect_uri,
        ask.state.as_deref(),
        &[("code", &text)],
    );
    let code = Code {
        consent: Consent {
            client: ask.client_id.into(),
            user: user.into(),
            scope: ask.scope.into(),
        },
        redirect_uri: ask.redirect_uri,
        challenge: ask.challenge,
        used_for: None,
    };
    lock(&shared.codes).insert(text, code, shared.now());
    shared.note(EventKind::Consent, of_user(user));
    shared.counters.add(Counter::Consents, 1);
    answer
}

fn of_user(user: &str) -> Happened {
    Happened {
        user: Some(user.into()),
        ..Happened::default()
    }
}
