//! `/connect/{token}/status`: how a connect session goes on, for the browser that it is bound to. It looks
//! again by itself until there is an end, and then leads back to the partner.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use latchkey_domain::states::SessionStatus;
use latchkey_vault::digest;

use super::{Page, PageError, Result, binding::Binding, go_to};
use crate::{
    extract::Path,
    routes::connect::landing::{self, Ending},
    state::Api,
};

/// Seconds between two looks.
const AGAIN_S: u32 = 2;

/// Shows how it goes.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let found = api.ctx.store.find_session_by_link(&digest(&token)).await?;
    let session = found.ok_or_else(PageError::unknown)?;
    let binding = Binding::sent(&headers, &session, api.ctx.config.is_https());
    if !binding.is_some_and(|binding| binding.binds(&session)) {
        return Err(PageError::new(
            StatusCode::FORBIDDEN,
            "This page belongs to another browser",
            "Only the browser that began to connect can see how it went.",
        ));
    }
    let ending = match session.status {
        SessionStatus::Pending | SessionStatus::Authorizing => {
            return Ok(go_to(&format!("/connect/{token}")));
        }
        SessionStatus::Exchanging => return Ok(waiting(&token)),
        // The completion code was handed over once and is not kept.
        SessionStatus::AwaitingConfirmation => Ending::Error(landing::CONFIRMATION_REQUIRED),
        SessionStatus::Completed => Ending::Success,
        SessionStatus::Failed | SessionStatus::Expired => {
            Ending::Error(session.error.as_deref().unwrap_or(landing::EXPIRED))
        }
    };
    landing::land(&api, &session, ending).await
}

fn waiting(token: &str) -> Response {
    let here = format!("/connect/{token}/status");
    let body = "<p role=\"status\">You agreed, and we are finishing the connection. This takes longer than \
                usual; the page goes on by itself, and you can leave it open.</p>";
    let page = Page {
        refresh: Some((AGAIN_S, here)),
        ..Page::new("Connecting…", body.to_owned())
    };
    page.into_response()
}
