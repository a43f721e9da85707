//! `GET /auth_configs`.

use std::{cmp::Ordering, sync::Arc};

use axum::extract::State;
use latchkey_domain::states::AuthConfigStatus;
use latchkey_store::OfferedConfig;
use utoipa::IntoParams;

use crate::{
    auth::Partner,
    flowra::{
        config::{AuthConfigView, toolkit_slug},
        query::{Paging, Params},
        shape::{Bare, Page},
    },
    reply::Result,
    state::Api,
};

/// Which auth configs, and which page of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that `Wanted` reads")]
pub(crate) struct ListAuthConfigs {
    /// Name or toolkit contains this.
    q: Option<String>,
    /// The same.
    search: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<u32>,
    /// On one page; 10 if left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// In place of `page`: after so many.
    #[param(maximum = 1_000_000)]
    offset: Option<u32>,
    /// `createdAt` (if left out), `updatedAt`, `name` or `status`.
    #[param(rename = "sortBy")]
    sort_by: Option<String>,
    /// `ASC` or `DESC` (if left out), in any case.
    #[param(rename = "sortOrder")]
    sort_order: Option<String>,
    /// Accepted; every field is given.
    fields: Option<String>,
    /// Accepted; every config here is Latchkey's own.
    provider: Option<String>,
    /// Of these toolkits, repeated or comma-separated.
    #[param(rename = "toolkitSlug")]
    toolkit_slug: Option<String>,
    /// Accepted and ignored.
    #[param(rename = "deprecatedAppId")]
    deprecated_app_id: Option<String>,
    /// `ENABLED` or `DISABLED`.
    #[param(rename = "deprecatedStatus")]
    deprecated_status: Option<String>,
    /// Also those that are disabled.
    #[param(rename = "showDisabled")]
    show_disabled: Option<bool>,
    /// Base64 of `{"page":2,"limit":10}`, in place of both.
    cursor: Option<String>,
}

const SORTS: [&str; 4] = ["createdAt", "updatedAt", "name", "status"];

struct Wanted {
    texts: Vec<String>,
    toolkits: Option<Vec<String>>,
    enabled: Option<bool>,
    sort: usize,
    ascending: bool,
    paging: Paging,
}

impl Wanted {
    fn read(mut params: Params) -> Result<Self> {
        let texts = [params.one("q"), params.one("search")];
        let status = params.choice("deprecatedStatus", &["ENABLED", "DISABLED"]);
        let show_disabled = params.flag("showDisabled").unwrap_or(false);
        params.many("fields");
        params.choice("provider", &["composio", "flowra", "local"]);
        params.one("deprecatedAppId");
        let wanted = Self {
            texts: texts
                .into_iter()
                .flatten()
                .map(|text| text.to_lowercase())
                .collect(),
            toolkits: params.many("toolkitSlug"),
            enabled: match status {
                Some(place) => Some(place == 0),
                None if show_disabled => None,
                None => Some(true),
            },
            sort: params.choice("sortBy", &SORTS).unwrap_or(0),
            ascending: params.choice("sortOrder", &["DESC", "ASC"]) == Some(1),
            paging: params.paging(10),
        };
        params.finish()?;
        Ok(wanted)
    }

    fn takes(&self, api: &Api, row: &OfferedConfig) -> bool {
        let slug = toolkit_slug(api, row);
        let enabled = row.config.status == AuthConfigStatus::Enabled;
        let holds = |text: &String| {
            let names = [
                Some(&row.config.name),
                row.offer.display_name.as_ref(),
                Some(&slug),
            ];
            names
                .into_iter()
                .flatten()
                .any(|name| name.to_lowercase().contains(text))
        };
        self.enabled.is_none_or(|wanted| wanted == enabled)
            && self
                .toolkits
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&slug))
            && self.texts.iter().all(holds)
    }

    fn order(&self, a: &OfferedConfig, b: &OfferedConfig) -> Ordering {
        let (x, y) = (&a.config, &b.config);
        let order = match self.sort {
            1 => x.updated_at.cmp(&y.updated_at),
            2 => x.name.cmp(&y.name),
            3 => x.status.cmp(&y.status),
            _ => Ordering::Equal,
        };
        let order = order.then(x.id.cmp(&y.id));
        if self.ascending {
            order
        } else {
            order.reverse()
        }
    }
}

/// List your auth configs
#[utoipa::path(get, path = "/api/v1/auth_configs", tag = "flowra: auth configs", params(ListAuthConfigs),
    responses((status = 200, body = Page<AuthConfigView>)))]
pub(crate) async fn list_auth_configs(
    State(api): State<Arc<Api>>,
    partner: Partner,
    params: Params,
) -> Result<Bare<Page<AuthConfigView>>> {
    let wanted = Wanted::read(params)?;
    let mut rows = api.ctx.store.list_offered_configs(partner.id).await?;
    rows.retain(|row| partner.may_reach(&row.config.provider).is_ok() && wanted.takes(&api, row));
    rows.sort_by(|a, b| wanted.order(a, b));
    let total = rows.len() as u64;
    let page = wanted.paging.cut(rows);
    let views = page
        .iter()
        .map(|row| AuthConfigView::of(&api, row))
        .collect();
    Ok(Page::of(views, total, wanted.paging))
}
