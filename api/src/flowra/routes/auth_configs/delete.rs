//! `DELETE /auth_configs/{id}`: refused while accounts are connected with it, unless they shall go with it.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::{AuthConfigId, RequestId, states::AuthConfigStatus};
use latchkey_store::{Listed, ListingFilter, ListingOrder, ListingPage};

use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Id, Path},
    flowra::{
        config,
        query::Params,
        routes::connected_accounts::delete::remove,
        shape::{Bare, Simple},
    },
    reply::Result,
    state::Api,
};

/// Connections that are disconnected at a time.
const BATCH: u32 = 100;
/// Times that a config is emptied of what was connected with it while it was.
const TRIES: u32 = 5;

/// Delete an auth config
///
/// Refused with 409 while accounts are connected with it. With `cascade=true` they are deleted first, and their
/// grants revoked at the provider by jobs.
#[utoipa::path(delete, path = "/api/v1/auth_configs/{auth_config_id}", tag = "flowra: auth configs",
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)",
        example = "ac_019aa000000070008000000000000000"),
        ("cascade" = Option<bool>, Query, description = "Delete its connected accounts too")),
    responses((status = 200, body = Simple)))]
pub(crate) async fn delete_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Bare<Simple>> {
    let cascade = params.flag("cascade").unwrap_or(false);
    params.finish()?;
    let row = config::find_own(&api, &partner, &id).await?;
    let (store, config) = (&api.ctx.store, row.config.id);
    if cascade {
        // Nothing new begins with it from here on. It goes when it is empty: until then it is seen, so that what
        // was interrupted can be asked for again.
        let (off, now) = (AuthConfigStatus::Disabled, api.ctx.now());
        store
            .set_auth_config_status(partner.id, config, off, None, now)
            .await?;
        empty(&api, &partner, request_id, config).await?;
    }
    for _ in 0..TRIES {
        let kept_by = store
            .hide_auth_config(partner.id, config, api.ctx.now())
            .await?;
        match kept_by {
            None => return Err(ApiError::not_found("auth config")),
            Some(0) => {
                // Links that are left lead nowhere any more.
                empty(&api, &partner, request_id, config).await?;
                audit::by_partner(&api, &partner, request_id, "auth_config.delete", &id).await;
                return Ok(Simple::DONE);
            }
            Some(connected) if !cascade => {
                let said = format!(
                    "{connected} accounts are connected with this auth config. Delete them first, or all at once \
                     with ?cascade=true, or disable the config."
                );
                return Err(ApiError::new(Code::Conflict, said));
            }
            // Exchanges that were under way brought these.
            Some(_) => empty(&api, &partner, request_id, config).await?,
        }
    }
    let said =
        "Accounts are being connected with this auth config in this moment. Try again shortly.";
    Err(ApiError::new(Code::Conflict, said))
}

/// Deletes what is listed under a config: connections, and links that lead to some.
async fn empty(
    api: &Api,
    partner: &Partner,
    request_id: RequestId,
    config: AuthConfigId,
) -> Result<()> {
    let filter = ListingFilter {
        configs: Some(vec![config]),
        ..ListingFilter::default()
    };
    let mut page = ListingPage {
        order: ListingOrder::Created,
        ascending: true,
        after: None,
        limit: BATCH,
    };
    loop {
        let store = &api.ctx.store;
        let keys = store
            .list_listed(partner.id, &filter, &page, api.ctx.now())
            .await?;
        let Some(last) = keys.last() else {
            return Ok(());
        };
        page.after = Some(*last);
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        let rows: Vec<Listed> = store.read_listed(partner.id, &ids).await?;
        for row in &rows {
            match remove(api, partner, request_id, row).await {
                // An exchange that is under way is refused when it stores what it brought, once the config is gone.
                Ok(()) => {}
                Err(error) if error.code == Code::Conflict || error.code == Code::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}
