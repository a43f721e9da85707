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
