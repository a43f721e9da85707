//! `POST /oauth/revoke` (RFC 7009): any token of a grant ends the whole grant.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    counters::Counter,
    events::{EventKind, Happened},
    faults::{Target, under_faults},
    form::{Form, OAuthError, authenticate, no_store},
    state::{Shared, lock},
};

/// Handler.
pub(crate) async fn revoke(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let act = async {
        match end_grant(&shared, &headers, &body) {
            Ok(()) => (StatusCode::OK, no_store()).into_response(),
            Err(error) => error.into_response(),
        }
    };
    under_faults(&shared, Target::Revoke, act).await
}

fn end_grant(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<(), OAuthError> {
    let form = Form::of_body(headers, body)?;
    let client = authenticate(shared, headers, &form)?;
    let token = form.need("token")?;
    let of_refresh = shared.minter.read_refresh(token).map(|c| c.grant);
    let of_access = || shared.minter.read_access(token).map(|c| c.grant);
    let Some(grant) = of_refresh.or_else(of_access) else {
        // An unknown token is as good as revoked (RFC 7009 §2.2).
        return Ok(());
    };
    let mut grants = lock(&shared.grants);
    if grants
        .client_of(grant)
        .is_none_or(|owner| *owner != *client.client_id)
    {
        return Err(OAuthError::new(
            "unauthorized_client",
            "another client's token",
        ));
    }
    if grants.end(grant) {
        drop(grants);
        let ended = Happened {
            grant: Some(grant),
            ..Happened::default()
        };
        shared.note(EventKind::Revoke, ended);
        shared.counters.add(Counter::Revocations, 1);
    }
    Ok(())
}
