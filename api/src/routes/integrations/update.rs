//! `PATCH /accounts/{id}/integrations/{provider}`: switches what calls may use.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use latchkey_providers::Provider;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Integration, primary};
use crate::{
    audit,
    auth::Partner,
    check::Checks,
    extract::{Body, Id, Path},
    reach,
    reply::{Envelope, Reply, Result},
    routes::accounts,
    state::Api,
};

/// What to switch; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateIntegration {
    /// By permission id, or by service for all of its permissions.
    #[schema(example = json!({"gmail.send": false}))]
    enabled_services: BTreeMap<String, bool>,
}

/// Switch what calls may use
///
/// Only what the end user granted can be switched on. Calls of what is off answer 403 `SERVICE_DISABLED`.
#[utoipa::path(patch, path = "/api/v1/accounts/{account_id}/integrations/{provider}", tag = "integrations",
    request_body = UpdateIntegration,
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`"),
        ("provider" = String, Path, description = "The provider")),
    responses((status = 200, body = Envelope<Integration>)))]
pub(crate) async fn update_integration(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Path((account, provider)): Path<(String, String)>,
    Body(body): Body<UpdateIntegration>,
) -> Result<Reply<Integration>> {
    let account = accounts::find(&api, &partner, &account).await?;
    let connection = primary(&api, &account, &provider).await?;
    partner.may_reach(&provider)?;
    let (store, now) = (&api.ctx.store, api.ctx.now());
    let config = store
        .get_usable_auth_config(partner.id, connection.row.auth_config_id)
        .await?;
    let entry = api.ctx.catalog.get(&provider).zip(config);
    let (entry, config) = entry.ok_or_else(|| reach::not_connected(&account, &provider))?;
    let granted = entry.granted(entry.spec(&config.params), &connection.row.scopes);
    let switches = switches(entry, &granted, &body.enabled_services)?;
    let changed = store
        .set_enabled_services(partner.id, connection.row.id, &switches, now)
        .await?;
    let changed = changed.ok_or_else(|| reach::not_connected(&account, &provider))?;
    api.reach.changed();
    let subject = changed.row.id.to_string();
    audit::by_partner(&api, &partner, id, "integration.update", &subject).await;
    Ok(Reply(Integration::of(&changed, now)))
}

/// What was asked for, by permission.
fn switches(
    provider: &Provider,
    granted: &BTreeMap<String, bool>,
    asked: &BTreeMap<String, bool>,
) -> Result<BTreeMap<String, bool>> {
    let is_granted = |permission: &str| granted.get(permission) == Some(&true);
    let mut checks = Checks::default();
    let mut switches = BTreeMap::new();
    for (name, on) in asked {
        let field = format!("enabled_services.{name}");
        if let Some(service) = provider.service(name) {
            let of_service = service.permissions.iter().map(|permission| &permission.id);
            let settable: Vec<_> = of_service.filter(|id| !on || is_granted(id)).collect();
            checks.require(
                !settable.is_empty(),
                &field,
                "was not granted; connect again with it",
            );
            switches.extend(settable.into_iter().map(|id| (id.clone(), *on)));
        } else if granted.contains_key(name) {
            let may = !on || is_granted(name);
            checks.require(may, &field, "was not granted; connect again with it");
            switches.insert(name.clone(), *on);
        } else {
            checks.require(
                false,
                &field,
                "is not a service or permission of this provider",
            );
        }
    }
    let said_something = !asked.is_empty();
    checks.require(
        said_something,
        "enabled_services",
        "must name what to switch",
    );
    checks.finish()?;
    Ok(switches)
}
