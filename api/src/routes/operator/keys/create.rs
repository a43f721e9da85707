//! `POST /operator/partners/{id}/keys`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;

use crate::{
    audit::{self, Change},
    extract::{Body, Id, Path},
    reply::{Envelope, Reply, Result},
    routes::{
        operator::find_partner,
        partner_keys::{MadeKey, NewKey, make},
    },
    state::Api,
};

/// Make a key for a partner
#[utoipa::path(post, path = "/operator/partners/{partner_id}/keys", tag = "keys", request_body = Option<NewKey>,
    params(("partner_id" = String, Path, description = "Its id (`prt_…`)")),
    responses((status = 200, body = Envelope<MadeKey>)))]
pub(crate) async fn create_key(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(partner): Path<String>,
    body: Option<Body<NewKey>>,
) -> Result<Reply<MadeKey>> {
    let row = find_partner(&api, &partner).await?;
    let made = make(&api, row.id, body.map(|Body(new)| new).unwrap_or_default()).await?;
    let change = Change {
        partner: row.id,
        action: "key.create",
        subject: made.id(),
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(made))
}
