//! `GET /external-users`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::{EndUserFilter, EndUserOrder};
use utoipa::IntoParams;

use super::ExternalUser;
use crate::{
    auth::Partner,
    flowra::{
        query::Params,
        shape::{Bare, Page},
    },
    reach::DEFAULT_ACCOUNT,
    reply::Result,
    state::Api,
};

/// Which external users, and which page of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the handler reads")]
pub(crate) struct ListExternalUsers {
    /// The name contains this, in any case.
    q: Option<String>,
    /// Of this channel; users here have none.
    channel: Option<String>,
    /// `project_default`, `username`, `embed_visitor` or `trigger_thread`, repeated or comma-separated.
    source: Option<String>,
    /// Active ones, or inactive ones.
    #[param(rename = "isActive")]
    is_active: Option<bool>,
    /// Exactly this name.
    #[param(rename = "activeEuid")]
    active_euid: Option<String>,
    /// `createdAt` (if left out), `updatedAt` or `name`.
    #[param(rename = "sortBy")]
    sort_by: Option<String>,
    /// `ASC` (if left out) or `DESC`, in any case.
    #[param(rename = "sortOrder")]
    sort_order: Option<String>,
    /// Made at this time (RFC 3339, or a date) or later.
    from: Option<String>,
    /// Made before this time.
    to: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<u32>,
    /// On one page; 20 if left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// In place of `page`: after so many.
    #[param(maximum = 1_000_000)]
    offset: Option<u32>,
    /// Base64 of `{"page":2,"limit":10}`, in place of both.
    cursor: Option<String>,
}

/// List external users
#[utoipa::path(get, path = "/api/v1/external-users", tag = "flowra: external users", params(ListExternalUsers),
    responses((status = 200, body = Page<ExternalUser>)))]
pub(crate) async fn list_external_users(
    State(api): State<Arc<Api>>,
    partner: Partner,
    mut params: Params,
) -> Result<Bare<Page<ExternalUser>>> {
    let channel = params.one_within("channel", 64);
    let words = [
        "project_default",
        "username",
        "embed_visitor",
        "trigger_thread",
    ];
    let sources = params.many_of(
        "source",
        &format!("must be some of {}", words.join(", ")),
        |source| words.iter().position(|word| *word == source),
    );
    let mut filter = EndUserFilter {
        q: params.one("q"),
        name: params.one("activeEuid"),
        active: params.flag("isActive"),
        order: match params.choice("sortBy", &["createdAt", "updatedAt", "name"]) {
            Some(1) => EndUserOrder::Updated,
            Some(2) => EndUserOrder::Name,
            _ => EndUserOrder::Created,
        },
        descending: params.choice("sortOrder", &["ASC", "DESC"]) == Some(1),
        from: params.time("from"),
        to: params.time("to"),
        ..EndUserFilter::default()
    };
    let paging = params.paging(20);
    params.finish()?;
    (filter.limit, filter.offset) = (paging.limit, paging.offset);
    let mut nobody = channel.is_some();
    if let Some(sources) = sources {
        match (sources.contains(&0), sources.contains(&1)) {
            (true, true) => {}
            (true, false)
                if filter
                    .name
                    .as_deref()
                    .is_none_or(|name| name == DEFAULT_ACCOUNT) =>
            {
                filter.name = Some(DEFAULT_ACCOUNT.to_owned());
            }
            (false, true) => filter.name_not = Some(DEFAULT_ACCOUNT.to_owned()),
            _ => nobody = true,
        }
    }
    if nobody {
        return Ok(Page::of(Vec::new(), 0, paging));
    }
    let (found, total) = api.ctx.store.list_end_users(partner.id, &filter).await?;
    Ok(Page::of(
        found.into_iter().map(ExternalUser::from).collect(),
        total,
        paging,
    ))
}
