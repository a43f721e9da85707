//! `GET /toolkits/categories`.

use crate::{
    auth::Partner,
    flowra::shape::{Bare, One},
    reply::Result,
};

/// List the categories of toolkits
///
/// Toolkits here have none.
#[utoipa::path(get, path = "/api/v1/toolkits/categories", tag = "flowra: toolkits",
    responses((status = 200, body = One<Vec<String>>)))]
pub(crate) async fn list_categories(_partner: Partner) -> Result<Bare<One<Vec<String>>>> {
    Ok(One::of(Vec::new()))
}
