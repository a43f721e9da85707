//! `GET /tools` as function descriptions.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Tool;
use crate::{
    auth::Partner,
    reply::{Reply, Result},
    state::Api,
};

/// Which tools.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Also those that the account cannot call now.
    #[serde(default)]
    all: bool,
}

/// Tools, and where they are called.
#[derive(Serialize, ToSchema)]
pub(crate) struct AllTools {
    /// The tools.
    tools: Vec<Tool>,
    /// How many.
    total: usize,
    /// The origin before each path.
    #[schema(example = "https://keys.example.com")]
    base_url: String,
}

/// The function descriptions. The route is shared with Flowra's, which leads here.
pub(crate) async fn list_tools(
    api: &Api,
    partner: &Partner,
    headers: &HeaderMap,
    which: Which,
) -> Result<Reply<AllTools>> {
    let mut tools = super::tools(api, partner, headers, |_, _| true).await?;
    tools.retain(|tool| which.all || tool.metadata.connected);
    Ok(Reply(AllTools {
        total: tools.len(),
        tools,
        base_url: api.ctx.config.public_origin().clone(),
    }))
}
