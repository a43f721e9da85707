//! `POST /partner/keys`: a new key, shown once.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::KeyMode;

use super::{MadeKey, ModeName, NewKey, make};
use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Make a key
///
/// Two keys of each mode may live at once: make the new one, use it everywhere, then revoke the old one.
#[utoipa::path(post, path = "/api/v1/partner/keys", tag = "partner", request_body = Option<NewKey>,
    responses((status = 200, body = Envelope<MadeKey>)))]
pub(crate) async fn create_key(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    body: Option<Body<NewKey>>,
) -> Result<Reply<MadeKey>> {
    let new = body.map(|Body(new)| new).unwrap_or_default();
    if partner.mode == KeyMode::Test && new.mode == ModeName::Live {
        return Err(ApiError::new(
            Code::TestKeyOnlySandbox,
            "A test key makes test keys only. Use a live key.",
        ));
    }
    let made = make(&api, partner.id, new).await?;
    audit::by_partner(&api, &partner, id, "key.create", made.id()).await;
    Ok(Reply(made))
}
