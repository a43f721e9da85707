//! `GET /operator/partners`.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    check::Checks,
    extract::{Query, id},
    reply::{Envelope, Reply, Result},
    routes::partner::Profile,
    state::Api,
};

/// Partners on one page at most.
const MAX_LIMIT: u32 = 500;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPartners {
    /// How many, 1–500.
    #[param(default = 100)]
    limit: u32,
    /// After this partner: `next_after` of the page before.
    after: Option<String>,
}

impl Default for ListPartners {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
        }
    }
}

/// A page of partners.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartnerList {
    /// Oldest first.
    partners: Vec<Profile>,
    /// Where the next page begins; `null` on the last.
    next_after: Option<String>,
}

/// List partners
#[utoipa::path(get, path = "/operator/partners", tag = "partners", params(ListPartners),
    responses((status = 200, body = Envelope<PartnerList>)))]
pub(crate) async fn list_partners(
    State(api): State<Arc<Api>>,
    Query(query): Query<ListPartners>,
) -> Result<Reply<PartnerList>> {
    let mut checks = Checks::default();
    let in_range = (1..=MAX_LIMIT).contains(&query.limit);
    checks.require(in_range, "limit", format!("must be 1 to {MAX_LIMIT}"));
    checks.finish()?;
    let after = query
        .after
        .as_deref()
        .map(|text| id(text, "partner"))
        .transpose()?;
    // One more than asked for tells whether there is a next page.
    let mut rows = api.ctx.store.list_partners(after, query.limit + 1).await?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_after = rows.last().filter(|_| more).map(|row| row.id.to_string());
    Ok(Reply(PartnerList {
        partners: rows.into_iter().map(Into::into).collect(),
        next_after,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn pages_follow_each_other() {
        let api = TestApi::new().await;
        for company in ["A", "B", "C"] {
            api.partner(company).await;
            api.advance(Duration::from_secs(1));
        }
        let operator = api.operator();
        let first = operator.get("/operator/partners?limit=2").await.data();
        assert_eq!(first["partners"][1]["company"], "B");
        let after = first["next_after"].as_str().unwrap();
        let second = operator
            .get(&format!("/operator/partners?limit=2&after={after}"))
            .await
            .data();
        assert_eq!(second["partners"][0]["company"], "C");
        assert_eq!(
            (
                second["partners"].as_array().unwrap().len(),
                &second["next_after"]
            ),
            (1, &json!(null))
        );
        assert_eq!(
            operator.get("/operator/partners?limit=501").await.code(),
            "INVALID_REQUEST"
        );
    }
}
