//! `GET /operator/partners/{id}`.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    extract::Path,
    reply::{Envelope, Reply, Result},
    routes::{operator::find_partner, partner::Profile},
    state::Api,
};

/// Get a partner
#[utoipa::path(get, path = "/operator/partners/{partner_id}", tag = "partners",
    params(("partner_id" = String, Path, description = "Its id (`prt_…`)")),
    responses((status = 200, body = Envelope<Profile>)))]
pub(crate) async fn get_partner(
    State(api): State<Arc<Api>>,
    Path(partner): Path<String>,
) -> Result<Reply<Profile>> {
    Ok(Reply(find_partner(&api, &partner).await?.into()))
}
