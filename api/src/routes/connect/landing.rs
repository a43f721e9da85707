//! Where a browser lands: the partner's own URL, with what became of the session. Nothing else is ever in a
//! `Location` that leads to a partner (`reliability.md` A5).

use std::borrow::Cow;

use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use latchkey_domain::ConnectionId;
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
    if let Some(link) = store
        .get_session_link(session.partner_id, session.id)
        .await?
    {
        let now = store
            .get_partner_session(session.partner_id, session.id)
            .await?;
        let kept = now.and_then(|now| now.connection_id).unwrap_or(link.id);
        return Ok(with_parameters(
            &session.redirect_url,
            &told_of_link(session, kept, ending),
        ));
    }
    let account = store
        .get_account(session.partner_id, session.account_id)
        .await?;
    let external_id = account.map(|account| account.external_id);
    let told = told(session, external_id.as_deref(), ending);
    Ok(with_parameters(&session.redirect_url, &told))
}

/// What the partner is told.
fn told<'a>(
    session: &'a SessionRow,
    external_id: Option<&'a str>,
    ending: Ending<'a>,
) -> Vec<(&'static str, Cow<'a, str>)> {
    let mut told: Vec<(&'static str, Cow<'a, str>)> = match ending {
        Ending::Success => vec![("status", "success".into())],
        Ending::Error(code) => vec![("status", "error".into()), ("error", code.into())],
        Ending::Confirm(code) => vec![
            ("status", "confirm".into()),
            ("completion_code", code.expose_secret().into()),
        ],
    };
    if !matches!(ending, Ending::Confirm(_)) {
        told.push(("provider", session.provider.as_str().into()));
        told.extend(external_id.map(|id| ("account_id", id.into())));
    }
    told.push(("session_id", session.id.to_string().into()));
    told
}

/// What the partner is told where it knew the connection's id before it stood.
fn told_of_link<'a>(
    session: &SessionRow,
    connection: ConnectionId,
    ending: Ending<'a>,
) -> Vec<(&'static str, Cow<'a, str>)> {
    let mut told = vec![("connectionId", Cow::from(connection.to_string()))];
    match ending {
        Ending::Success => told.push(("status", "success".into())),
        Ending::Error(code) => told.extend([("status", "failed".into()), ("error", code.into())]),
        Ending::Confirm(code) => told.extend([
            ("status", "confirm".into()),
            ("completion_code", code.expose_secret().into()),
            ("session_id", session.id.to_string().into()),
        ]),
    }
    told
}

/// The URL with these parameters behind its query; what is there stays.
fn with_parameters(redirect_url: &str, told: &[(&'static str, Cow<'_, str>)]) -> Option<Url> {
    let mut url = Url::parse(redirect_url).ok()?;
    url.query_pairs_mut().extend_pairs(told);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: [&str; 5] = [
        "https://app.example.com/cb",
        "https://app.example.com",
        "https://app.example.com/cb?tenant=7&x=%26",
        "http://127.0.0.1:3000/cb",
        "http://localhost/cb",
    ];

    fn landed(url: &str) -> Option<Url> {
        let told = [("status", "error".into()), ("error", "a&b=c#d".into())];
        with_parameters(url, &told)
    }

    #[test]
    fn what_is_there_stays() {
        let shown = LIST.map(|url| landed(url).unwrap().to_string());
        insta::assert_snapshot!(shown.join("\n"), @r#"
        https://app.example.com/cb?status=error&error=a%26b%3Dc%23d
        https://app.example.com/?status=error&error=a%26b%3Dc%23d
        https://app.example.com/cb?tenant=7&x=%26&status=error&error=a%26b%3Dc%23d
        http://127.0.0.1:3000/cb?status=error&error=a%26b%3Dc%23d
        http://localhost/cb?status=error&error=a%26b%3Dc%23d
        "#);
    }

    proptest! {
        // `reliability.md` A5: 10,000 URLs, and no `Location` off the list.
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_location_is_off_the_list(
            base in prop::sample::select(LIST.to_vec()),
            at in 0_usize..30,
            cut in 0_usize..5,
            insert in r"[ -~\t\r\n\\@#?/:.;%&=]{0,8}",
        ) {
            let (at, end) = (at.min(base.len()), (at + cut).min(base.len()));
            let asked = format!("{}{insert}{}", &base[..at], &base[end..]);
            let list = LIST.map(str::to_owned);
            if !redirect::is_registered(&list, &asked) {
                return Ok(());
            }
            let location = landed(&asked).unwrap();
            let without_port = |url: &Url| {
                let mut url = url.clone();
                let is_local = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
                if is_local {
                    url.set_port(None).unwrap();
                }
                (url.origin(), url.path().to_owned(), url.username().to_owned())
            };
            let known = LIST.map(|url| without_port(&Url::parse(url).unwrap()));
            prop_assert!(known.contains(&without_port(&location)), "{asked} leads to {location}");
        }
    }
}
