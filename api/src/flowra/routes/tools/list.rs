//! `GET /tools`: on this face as Flowra's clients ask for it; on the other as function descriptions.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Partner,
    extract::Query,
    flowra::{
        Face,
        config::toolkit_slug,
        query::Params,
        shape::{Bare, Page},
        tool::{self, ToolView},
    },
    reply::{Envelope, Result},
    routes::tools::list::{self as functions, AllTools, Which},
    state::Api,
};

/// Which tools, and which page of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the handler reads")]
pub(crate) struct ListTools {
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
    /// `slug` (if left out) or `name`.
    #[param(rename = "sortBy")]
    sort_by: Option<String>,
    /// `ASC` (if left out) or `DESC`, in any case.
    #[param(rename = "sortOrder")]
    sort_order: Option<String>,
    /// Accepted; every field is given.
    fields: Option<String>,
    /// Of this category; tools here have none.
    category: Option<String>,
    /// Accepted: `COMPOSIO` or `LOCAL`.
    provider: Option<String>,
    /// Of these toolkits, repeated or comma-separated.
    #[param(rename = "toolkitSlug")]
    toolkit_slug: Option<String>,
    /// These.
    #[param(rename = "toolSlugs")]
    tool_slugs: Option<String>,
    /// Of these auth configs' toolkits.
    #[param(rename = "authConfigIds")]
    auth_config_ids: Option<String>,
    /// Accepted; no tool here is more important than others.
    important: Option<bool>,
    /// `read` or `write`.
    tags: Option<String>,
    /// That need these permissions.
    scopes: Option<String>,
    /// Accepted; no tool here is deprecated.
    #[param(rename = "includeDeprecated")]
    include_deprecated: Option<bool>,
    /// Accepted; there is one version.
    #[param(rename = "toolkitVersions")]
    toolkit_versions: Option<String>,
    /// `actions` (if left out), `triggers` (there are none) or `all`.
    kind: Option<String>,
    /// Base64 of `{"page":2,"limit":10}`, in place of both.
    cursor: Option<String>,
}

/// Function descriptions, or a page of tools.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answer")]
pub(crate) enum ToolsAnswer {
    /// Function descriptions.
    Functions(Envelope<AllTools>),
    /// A page.
    Page(Page<ToolView>),
}

/// List tools
///
/// Every named endpoint that the account in `X-Account-Id` can call now, as a function description (with
/// `all=true` every one there is); or, asked for as Flowra's clients do, a page of tools.
#[utoipa::path(get, path = "/api/v1/tools", tags = ["tools", "flowra: tools"],
    params(Which, ListTools, ("X-Account-Id" = Option<String>, Header, description = "An account's `external_id`")),
    responses((status = 200, body = ToolsAnswer)))]
pub(crate) async fn list_tools(
    State(api): State<Arc<Api>>,
    partner: Partner,
    face: Face,
    request: Request,
) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    if face == Face::Flowra {
        let params = Params::from_request_parts(&mut parts, &()).await?;
        return Ok(list(&api, &partner, params).await?.into_response());
    }
    let Query(which) = Query::from_request_parts(&mut parts, &()).await?;
    Ok(functions::list_tools(&api, &partner, &parts.headers, which)
        .await?
        .into_response())
}

/// The page that these parameters ask for.
pub(crate) async fn list(
    api: &Api,
    partner: &Partner,
    mut params: Params,
) -> Result<Bare<Page<ToolView>>> {
    let texts = [params.one("q"), params.one("search")];
    let category = params.one("category");
    let mut toolkits = params.many("toolkitSlug");
    let slugs = params.many("toolSlugs");
    let configs = params.ids("authConfigIds");
    let tags = params.many_of("tags", "must be read or write", |tag| match tag {
        "read" => Some(true),
        "write" => Some(false),
        _ => None,
    });
    let scopes = params.many("scopes");
    let triggers = params.choice("kind", &["actions", "all", "triggers"]) == Some(2);
    let by_name = params.choice("sortBy", &["slug", "name"]) == Some(1);
    let descending = params.choice("sortOrder", &["ASC", "DESC"]) == Some(1);
    params.many("fields");
    params.choice("provider", &["COMPOSIO", "LOCAL"]);
    params.flag("important");
    params.flag("includeDeprecated");
    params.many("toolkitVersions");
    let paging = params.paging(20);
    params.finish()?;
    if let Some(ids) = configs {
        let found = api.ctx.store.find_offered_configs(partner.id, &ids).await?;
        let of_configs = found.iter().map(|row| toolkit_slug(api, row));
        let asked = toolkits.take();
        let kept =
            of_configs.filter(|slug| asked.as_ref().is_none_or(|asked| asked.contains(slug)));
        toolkits = Some(kept.collect());
    }
    let mut found: Vec<_> = tool::all(api);
    found.retain(|tool| {
        partner.may_reach(&tool.toolkit.provider.slug).is_ok()
            && !triggers
            && category.is_none()
            && toolkits
                .as_ref()
                .is_none_or(|asked| asked.contains(&tool.toolkit.slug()))
            && slugs
                .as_ref()
                .is_none_or(|asked| asked.iter().any(|slug| tool.is_named(slug)))
            && tags
                .as_ref()
                .is_none_or(|asked| asked.contains(&tool.reads()))
            && scopes
                .as_ref()
                .is_none_or(|asked| asked.contains(&tool.endpoint.permission))
    });
    let mut views: Vec<_> = found
        .into_iter()
        .map(|tool| ToolView::of(api, tool))
        .collect();
    views.retain(|view| texts.iter().flatten().all(|text| view.holds(text)));
    views.sort_by(|a, b| {
        let order = if by_name { a.by_name(b) } else { a.by_slug(b) };
        if descending { order.reverse() } else { order }
    });
    let total = views.len() as u64;
    Ok(Page::of(paging.cut(views), total, paging))
}
