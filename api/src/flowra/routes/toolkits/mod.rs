//! `/toolkits`: the catalogue's services.

pub(crate) mod categories;
pub(crate) mod get;
pub(crate) mod list;

use crate::{
    auth::Partner,
    flowra::toolkit::{Toolkit, ToolkitView},
    reply::Result,
    state::Api,
};

async fn view(api: &Api, toolkit: Toolkit<'_>) -> Result<ToolkitView> {
    let shared = api
        .ctx
        .store
        .newest_shared_auth_config(&toolkit.provider.slug)
        .await?;
    Ok(ToolkitView::of(toolkit, shared.is_some()))
}

/// What a key may see: a test key the sandbox alone.
fn visible<'a>(api: &'a Api, partner: &Partner) -> Vec<Toolkit<'a>> {
    let all = crate::flowra::toolkit::all(api).into_iter();
    all.filter(|toolkit| partner.may_reach(&toolkit.provider.slug).is_ok())
        .collect()
}
