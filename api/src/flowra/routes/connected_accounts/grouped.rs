//! `GET /connected_accounts/grouped-by-toolkit`: what one external user is connected to.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use latchkey_store::{ListingFilter, ListingOrder, ListingPage};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::list::within_mode;
use crate::{
    auth::Partner,
    error::ApiError,
    flowra::{
        account::{self, ConnectedAccount},
        query::Params,
        shape::Bare,
        toolkit::ToolkitRef,
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// Whose, and which.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the handler reads")]
pub(crate) struct Grouped {
    /// The external user; that of `x-username` if left out, else the default user.
    #[param(rename = "eUID")]
    e_uid: Option<String>,
    /// Toolkit or label contains this.
    q: Option<String>,
    /// At most so many connections; 500 if left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// What an external user is connected to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupedAccounts {
    /// The external user.
    external_user: UserRef,
    /// By toolkit.
    groups: Vec<Group>,
    /// In all groups.
    total_connections: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserRef {
    /// Its id.
    id: String,
    /// Its name.
    name: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Group {
    /// The toolkit.
    toolkit: ToolkitRef,
    /// Newest first.
    connections: Vec<ConnectedAccount>,
}

/// List an external user's connected accounts by toolkit
#[utoipa::path(get, path = "/api/v1/connected_accounts/grouped-by-toolkit", tag = "flowra: connected accounts",
    params(Grouped, ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = GroupedAccounts)))]
pub(crate) async fn grouped_by_toolkit(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    mut params: Params,
) -> Result<Bare<GroupedAccounts>> {
    let euid = params.one("eUID");
    let text = params.one("q").map(|text| text.to_lowercase());
    let limit = params.number("limit", 500, 1, 500);
    params.finish()?;
    let store = &api.ctx.store;
    let account = match euid {
        Some(name) => {
            let found = store.get_account_by_external(partner.id, &name).await?;
            let found = found.filter(|account| user.sees(account.id));
            found.ok_or_else(|| ApiError::not_found("external user"))?
        }
        None => user.or_default(&api, &partner).await?,
    };
    let mut filter = ListingFilter {
        accounts: Some(vec![account.id]),
        ..ListingFilter::default()
    };
    within_mode(&partner, &mut filter);
    let page = ListingPage {
        order: ListingOrder::Created,
        ascending: false,
        after: None,
        limit,
    };
    let keys = store
        .list_listed(partner.id, &filter, &page, api.ctx.now())
        .await?;
    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    let rows = store.read_listed(partner.id, &ids).await?;
    let mut seen = account::views(&api, &partner, rows).await?;
    seen.retain(|one| {
        let holds = |text: &String| {
            one.toolkit.slug.contains(text) || one.label.to_lowercase().contains(text)
        };
        text.as_ref().is_none_or(holds)
    });
    let total_connections = seen.len();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for one in seen {
        let group = groups.entry(one.toolkit.slug.clone());
        let group = group.or_insert_with(|| Group {
            toolkit: one.toolkit.clone(),
            connections: Vec::new(),
        });
        group.connections.push(one);
    }
    Ok(Bare::ok(GroupedAccounts {
        external_user: UserRef {
            id: account.id.to_string(),
            name: Some(account.external_id),
        },
        groups: groups.into_values().collect(),
        total_connections,
    }))
}
