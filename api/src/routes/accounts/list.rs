//! `GET /accounts`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::AccountFilter;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Account, MAX_TEXT};
use crate::{
    auth::Partner,
    check::Checks,
    extract::Query,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Accounts on one page at most.
const MAX_LIMIT: u32 = 100;

/// Which accounts, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAccounts {
    /// How many, 1–100.
    #[param(default = 20)]
    limit: u32,
    /// After how many.
    #[param(default = 0)]
    offset: u32,
    /// Exactly this external id.
    external_id: Option<String>,
    /// External id or display name contains this, in any case.
    q: Option<String>,
}

impl Default for ListAccounts {
    fn default() -> Self {
        Self {
            limit: 20,
            offset: 0,
            external_id: None,
            q: None,
        }
    }
}

/// A page of accounts.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountList {
    /// Newest first.
    accounts: Vec<Account>,
    /// How many match in all.
    total: u64,
    /// As asked.
    limit: u32,
    /// As asked.
    offset: u32,
}

/// List accounts
#[utoipa::path(get, path = "/api/v1/accounts", tag = "accounts", params(ListAccounts),
    responses((status = 200, body = Envelope<AccountList>)))]
pub(crate) async fn list_accounts(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Query(query): Query<ListAccounts>,
) -> Result<Reply<AccountList>> {
    let mut checks = Checks::default();
    let in_range = (1..=MAX_LIMIT).contains(&query.limit);
    checks.require(in_range, "limit", format!("must be 1 to {MAX_LIMIT}"));
    checks.maybe_text("q", query.q.as_deref(), 0, MAX_TEXT);
    checks.finish()?;
    let (limit, offset) = (query.limit, query.offset);
    let filter = AccountFilter {
        external_id: query.external_id,
        q: query.q.filter(|q| !q.is_empty()),
        limit,
        offset,
    };
    let (rows, total) = api.ctx.store.list_accounts(partner.id, &filter).await?;
    Ok(Reply(AccountList {
        accounts: rows.into_iter().map(Into::into).collect(),
        total,
        limit,
        offset,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use crate::testing::{Answer, TestApi};

    fn names(answer: &Answer) -> Vec<String> {
        let data = answer.data();
        let name = |a: &Value| a["external_id"].as_str().unwrap().to_owned();
        data["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect()
    }

    #[tokio::test]
    async fn pages_are_newest_first_and_the_partners_own() {
        let api = TestApi::new().await;
        let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
        for n in 0..5 {
            api.advance(Duration::from_secs(1));
            acme.account(&format!("User-{n}")).await;
        }
        other.account("user-9").await;
        let page = acme.client.get("/api/v1/accounts?limit=2&offset=1").await;
        assert_eq!(names(&page), ["User-3", "User-2"]);
        assert_eq!(page.data()["total"], 5);
        assert_eq!(
            (page.data()["limit"].clone(), page.data()["offset"].clone()),
            (2.into(), 1.into())
        );
        assert_eq!(
            names(&acme.client.get("/api/v1/accounts?external_id=User-4").await),
            ["User-4"]
        );
        assert_eq!(
            names(&acme.client.get("/api/v1/accounts?q=ser-0").await),
            ["User-0"]
        );
        assert_eq!(
            names(&acme.client.get("/api/v1/accounts?q=USER-1&limit=100").await),
            ["User-1"]
        );
        assert!(names(&acme.client.get("/api/v1/accounts?external_id=user-9").await).is_empty());
        // Signs that mean something in a pattern mean themselves.
        assert!(names(&acme.client.get("/api/v1/accounts?q=%25").await).is_empty());
        assert!(names(&acme.client.get("/api/v1/accounts?q=User_0").await).is_empty());
    }

    #[tokio::test]
    async fn wrong_parameters_are_named() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let mut said = Vec::new();
        for query in [
            "limit=101",
            "limit=0",
            "limit=ten",
            "offset=-1",
            "page=2",
            "limit=1&limit=2",
        ] {
            let answer = acme.client.get(&format!("/api/v1/accounts?{query}")).await;
            assert_eq!(answer.code(), "INVALID_REQUEST");
            said.push(format!(
                "{query}: {}",
                answer.json()["error"].as_str().unwrap()
            ));
        }
        insta::assert_snapshot!(said.join("\n"), @r"
        limit=101: limit must be 1 to 100
        limit=0: limit must be 1 to 100
        limit=ten: limit: must be a whole number, 0 or more
        offset=-1: offset: must be a whole number, 0 or more
        page=2: page: unknown field `page`, expected one of `limit`, `offset`, `external_id`, `q`
        limit=1&limit=2: limit: duplicate field `limit`
        ");
    }
}
