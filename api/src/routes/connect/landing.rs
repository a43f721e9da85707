//! Where a browser lands: the partner's own URL, with what became of the session. Nothing else is ever in a
//! `Location` that leads to a partner (`reliability.md` A5).

use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use latchkey_store::SessionRow;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    pages::{Escaped, Page, Result, binding::Binding},
    redirect,
    state::Api,
};

/// The session's time was over.
pub(crate) const EXPIRED: &str = "session_expired";
/// The partner's backend has yet to post the completion code, which was handed to the browser once.
pub(crate) const CONFIRMATION_REQUIRED: &str = "confirmation_required";

/// How a session went, as its browser tells the partner.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending<'a> {
    /// The connection stands.
    Success,
    /// It failed with this code.
    Error(&'a str),
    /// The partner's backend posts this completion code if the right user came back.
    Confirm(&'a SecretString),
}

/// 303 to the partner; or, if it took the URL off its list since, a page of ours.
pub(crate) async fn land(api: &Api, session: &SessionRow, ending: Ending<'_>) -> Result<Response> {
    let mut response = match address(api, session, ending).await? {
        Some(url) => Redirect::to(url.as_str()).into_response(),
        None => nowhere(ending),
    };
    if !matches!(ending, Ending::Confirm(_)) {
        let gone = Binding::forget(session, api.ctx.config.is_https());
        response
            .headers_mut()
            .extend(gone.map(|cookie| (SET_COOKIE, cookie)));
    }
    Ok(response)
}

/// The partner's URL with what became of the session; `None` if it is not on the partner's list any more.
pub(crate) async fn address(
    api: &Api,
    session: &SessionRow,
    ending: Ending<'_>,
) -> Result<Option<Url>> {
    let store = &api.ctx.store;
    let Some(partner) = store.get_partner(session.partner_id).await? else {
        return Ok(None);
    };
    if !redirect::is_registered(&partner.redirect_urls, &session.redirect_url) {
        return Ok(None);
    }
    let account = store
        .get_account(session.partner_id, session.account_id)
        .await?;
    let external_id = account.map(|account| account.external_id);
    Ok(with_ending(session, external_id.as_deref(), ending))
}

/// The session's URL with the ending added to its query; what is there stays.
fn with_ending(session: &SessionRow, external_id: Option<&str>, ending: Ending<'_>) -> Option<Url> {
    let mut url = Url::parse(&session.redirect_url).ok()?;
    let mut query = url.query_pairs_mut();
    match ending {
        Ending::Success => {
            query.append_pair("status", "success");
        }
        Ending::Error(code) => {
            query
                .append_pair("status", "error")
                .append_pair("error", code);
        }
        Ending::Confirm(code) => {
            query
                .append_pair("status", "confirm")
                .append_pair("completion_code", code.expose_secret());
        }
    }
    if !matches!(ending, Ending::Confirm(_)) {
        query.append_pair("provider", &session.provider);
        if let Some(external_id) = external_id {
            query.append_pair("account_id", external_id);
        }
    }
    query.append_pair("session_id", &session.id.to_string());
    drop(query);
    Some(url)
}

fn nowhere(ending: Ending<'_>) -> Response {
    let (title, text) = match ending {
        Ending::Success => ("Connected", "You can close this page."),
        Ending::Error(_) | Ending::Confirm(_) => (
            "This did not work",
            "Go back to where you came from and start again.",
        ),
    };
    Page::new(title, format!("<p>{}</p>", Escaped(text))).into_response()
}
