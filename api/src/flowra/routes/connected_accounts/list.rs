//! `GET /connected_accounts`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::{KeyMode, ListingFilter, ListingOrder, ListingPage};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Partner,
    flowra::{
        account::{self, ConnectedAccount},
        cursor::{self, Place},
        query::Params,
        shape::Bare,
        status::Status,
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// Which connected accounts, in which order, and where the page begins.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the parameters that `Wanted` reads")]
pub(crate) struct ListConnectedAccounts {
    /// That reach one of these toolkits. Lists are repeated or comma-separated, of at most 100 values.
    toolkit_slugs: Option<Vec<String>>,
    /// With one of these statuses.
    #[param(example = json!(["ACTIVE"]))]
    statuses: Option<Vec<String>>,
    /// Of these external users.
    #[param(rename = "eUIDs")]
    e_uids: Option<Vec<String>>,
    /// Connected with one of these auth configs.
    auth_config_ids: Option<Vec<String>>,
    /// With one of these ids.
    connected_account_ids: Option<Vec<String>>,
    /// Called one of these at the provider.
    labels: Option<Vec<String>>,
    /// `createdAt` (if left out) or `updatedAt`.
    order_by: Option<String>,
    /// `asc` or `desc` (if left out), in any case.
    order_direction: Option<String>,
    /// `nextCursor` of the page before, with the same filters and order.
    cursor: Option<String>,
    /// On one page; 10 if left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// A page of connected accounts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectedAccountList {
    /// The accounts on this page.
    items: Vec<ConnectedAccount>,
    /// Where the next page begins; none on the last.
    next_cursor: Option<String>,
    /// How many pages there are.
    total_pages: u64,
    /// Which page this is, from 1.
    current_page: u32,
    /// How many there are in all. Of more than 1,000, as of at most two minutes ago.
    total_items: u64,
}

struct Wanted {
    filter: ListingFilter,
    names: Option<Vec<String>>,
    order: ListingOrder,
    ascending: bool,
    cursor: Option<String>,
    limit: u32,
}

impl Wanted {
    fn read(mut params: Params) -> Result<Self> {
        let statuses = Status::ALL.map(Status::as_str).join(", ");
        let statuses = params.many_of(
            "statuses",
            &format!("must be some of {statuses}"),
            Status::parse,
        );
        let lower =
            |slugs: Vec<String>| slugs.iter().map(|slug| slug.to_ascii_lowercase()).collect();
        let wanted = Self {
            filter: ListingFilter {
                ids: params.ids("connectedAccountIds"),
                accounts: None,
                labels: params.many("labels"),
                configs: params.ids("authConfigIds"),
                standings: statuses
                    .map(|all| all.into_iter().flat_map(Status::standings).collect()),
                toolkits: params.many("toolkitSlugs").map(lower),
            },
            names: params.many("eUIDs"),
            order: match params.choice("orderBy", &["createdAt", "updatedAt"]) {
                Some(1) => ListingOrder::Updated,
                _ => ListingOrder::Created,
            },
            ascending: params.choice("orderDirection", &["desc", "asc"]) == Some(1),
            cursor: params.one_within("cursor", 512),
            limit: params.number("limit", 10, 1, 100),
        };
        params.finish()?;
        Ok(wanted)
    }

    /// Adds whose they may be: of the named users, and of the one who acts.
    async fn of_users(&mut self, api: &Api, partner: &Partner, user: &Named) -> Result<()> {
        if let Some(names) = &self.names {
            let found = api
                .ctx
                .store
                .find_end_users_by_name(partner.id, names)
                .await?;
            let ids = found.into_iter().map(|found| found.account.id);
            self.filter.accounts = Some(ids.filter(|id| user.sees(*id)).collect());
        } else if let Some(user) = &user.0 {
            self.filter.accounts = Some(vec![user.id]);
        }
        Ok(())
    }
}

/// Toolkits of what a test key may see.
pub(crate) fn within_mode(partner: &Partner, filter: &mut ListingFilter) {
    const SANDBOX: &str = "sandbox";
    if partner.mode == KeyMode::Test {
        let asked = filter.toolkits.as_ref();
        let sandbox = asked.is_none_or(|slugs| slugs.iter().any(|slug| slug == SANDBOX));
        filter.toolkits = Some(if sandbox {
            vec![SANDBOX.to_owned()]
        } else {
            Vec::new()
        });
    }
}

/// List connected accounts
///
/// Newest first. Pages follow the cursor: what comes or goes meanwhile moves nothing else, so that everything that
/// was there all the time is seen once. With `x-username`: those of that user.
#[utoipa::path(get, path = "/api/v1/connected_accounts", tag = "flowra: connected accounts",
    params(ListConnectedAccounts, ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = ConnectedAccountList)))]
pub(crate) async fn list_connected_accounts(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    params: Params,
) -> Result<Bare<ConnectedAccountList>> {
    let mut wanted = Wanted::read(params)?;
    wanted.of_users(&api, &partner, &user).await?;
    within_mode(&partner, &mut wanted.filter);
    let filter = &wanted.filter;
    let list = cursor::list_of(&format!(
        "{filter:?} {:?} {}",
        wanted.order, wanted.ascending
    ));
    let place = match &wanted.cursor {
        Some(text) => Some(cursor::read(&api, partner.id, &list, text).await?),
        None => None,
    };
    let page = ListingPage {
        order: wanted.order,
        ascending: wanted.ascending,
        after: place.map(|place| place.after),
        // One more than shown tells whether another page follows.
        limit: wanted.limit + 1,
    };
    let (store, now) = (&api.ctx.store, api.ctx.now());
    let (mut keys, total) = futures::try_join!(
        store.list_listed(partner.id, filter, &page, now),
        api.totals.of(&api, partner.id, filter),
    )?;
    let current = place.map_or(1, |place| place.page);
    let more = keys.len() > wanted.limit as usize;
    keys.truncate(wanted.limit as usize);
    let next = match keys.last() {
        Some(after) if more => {
            let place = Place {
                after: *after,
                page: current.saturating_add(1),
            };
            Some(cursor::write(&api, partner.id, &list, place).await?)
        }
        _ => None,
    };
    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    let rows = store.read_listed(partner.id, &ids).await?;
    Ok(Bare::ok(ConnectedAccountList {
        items: account::views(&api, &partner, rows).await?,
        next_cursor: next,
        total_pages: total.div_ceil(u64::from(wanted.limit)),
        current_page: current,
        total_items: total,
    }))
}
