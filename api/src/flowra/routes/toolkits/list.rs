//! `GET /toolkits`.

use std::sync::Arc;

use axum::extract::State;
use utoipa::IntoParams;

use super::{view, visible};
use crate::{
    auth::Partner,
    flowra::{
        query::Params,
        shape::{Bare, Page},
        toolkit::ToolkitView,
    },
    reply::Result,
    state::Api,
};

/// Which toolkits, and which page of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the handler reads")]
pub(crate) struct ListToolkits {
    /// Holds each of these words.
    q: Option<String>,
    /// The same.
    search: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<u32>,
    /// On one page; 20 if left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// In place of `page`: after so many.
    #[param(maximum = 1_000_000)]
    offset: Option<u32>,
    /// `name` (if left out) or `slug`.
    #[param(rename = "sortBy")]
    sort_by: Option<String>,
    /// `ASC` (if left out) or `DESC`, in any case.
    #[param(rename = "sortOrder")]
    sort_order: Option<String>,
    /// Accepted; every field is given.
    fields: Option<String>,
    /// Of this category; toolkits here have none.
    category: Option<String>,
    /// These, repeated or comma-separated.
    slugs: Option<String>,
    /// `mine`: those that you have auth configs for.
    scope: Option<String>,
    /// Accepted; every toolkit here is global.
    region: Option<String>,
    /// Accepted: `include_global` or `exact`.
    #[param(rename = "regionMatch")]
    region_match: Option<String>,
    /// Those that need a connection: all of them.
    #[param(rename = "requiresAuth")]
    requires_auth: Option<bool>,
    /// Those that auth configs can be made for: all of them.
    #[param(rename = "authConfigCreatable")]
    auth_config_creatable: Option<bool>,
    /// Base64 of `{"page":2,"limit":10}`, in place of both.
    cursor: Option<String>,
}

/// List toolkits
#[utoipa::path(get, path = "/api/v1/toolkits", tag = "flowra: toolkits", params(ListToolkits),
    responses((status = 200, body = Page<ToolkitView>)))]
pub(crate) async fn list_toolkits(
    State(api): State<Arc<Api>>,
    partner: Partner,
    mut params: Params,
) -> Result<Bare<Page<ToolkitView>>> {
    let texts = [params.one("q"), params.one("search")];
    let category = params.one("category");
    let slugs = params.many("slugs");
    let mine = params.choice("scope", &["mine", "all"]) == Some(0);
    let needs = [
        params.flag("requiresAuth"),
        params.flag("authConfigCreatable"),
    ];
    let by_slug = params.choice("sortBy", &["name", "slug"]) == Some(1);
    let descending = params.choice("sortOrder", &["ASC", "DESC"]) == Some(1);
    params.many("fields");
    params.one("region");
    params.choice("regionMatch", &["include_global", "exact"]);
    let paging = params.paging(20);
    params.finish()?;
    let own: Option<Vec<String>> = if mine {
        let configs = api.ctx.store.list_offered_configs(partner.id).await?;
        let slugs = configs
            .iter()
            .map(|row| crate::flowra::config::toolkit_slug(&api, row));
        Some(slugs.collect())
    } else {
        None
    };
    let mut found = Vec::new();
    for toolkit in visible(&api, &partner) {
        let seen = view(&api, toolkit).await?;
        let about = format!("{} {} {}", seen.slug, seen.name, seen.description).to_lowercase();
        let holds = |text: &String| {
            text.to_lowercase()
                .split_whitespace()
                .all(|word| about.contains(word))
        };
        let wanted = texts.iter().flatten().all(holds)
            && slugs
                .as_ref()
                .is_none_or(|slugs| slugs.contains(&seen.slug))
            && own.as_ref().is_none_or(|own| own.contains(&seen.slug))
            && category.is_none()
            && needs.iter().flatten().all(|needs| *needs);
        if wanted {
            found.push(seen);
        }
    }
    found.sort_by(|a, b| {
        let by = if by_slug {
            a.slug.cmp(&b.slug)
        } else {
            a.name.cmp(&b.name)
        };
        let order = by.then_with(|| a.slug.cmp(&b.slug));
        if descending { order.reverse() } else { order }
    });
    let total = found.len() as u64;
    Ok(Page::of(paging.cut(found), total, paging))
}
