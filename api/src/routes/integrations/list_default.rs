//! `GET /integrations`: those of the account that `X-Account-Id` names, or of the partner's default account.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Integration, connections};
use crate::{
    auth::Partner,
    error::ApiError,
    reach::{DEFAULT_ACCOUNT, named_account},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// What the account is connected to.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnIntegrations {
    /// Latest connected first.
    integrations: Vec<OwnIntegration>,
}

/// An integration, with its enabled permissions as a plain list too.
#[derive(Serialize, ToSchema)]
struct OwnIntegration {
    #[serde(flatten)]
    integration: Integration,
    /// The permissions that calls may use.
    #[schema(example = json!(["gmail.read"]))]
    services: Vec<String>,
}

/// List your own integrations
///
/// Those of the account in `X-Account-Id`; without it, of your default account `project_default_user`. An
/// empty list if there is no such account yet.
#[utoipa::path(get, path = "/api/v1/integrations", tag = "integrations",
    params(("X-Account-Id" = Option<String>, Header, description = "An account's `external_id`")),
    responses((status = 200, body = Envelope<OwnIntegrations>)))]
pub(crate) async fn list_own_integrations(
    State(api): State<Arc<Api>>,
    partner: Partner,
    headers: HeaderMap,
) -> Result<Reply<OwnIntegrations>> {
    let integrations = own(&api, &partner, &headers).await?;
    let integrations = integrations.into_iter().map(|integration| OwnIntegration {
        services: integration.enabled(),
        integration,
    });
    Ok(Reply(OwnIntegrations {
        integrations: integrations.collect(),
    }))
}

/// The integrations of the account that the headers name; none if the default account is not there.
pub(crate) async fn own(
    api: &Api,
    partner: &Partner,
    headers: &HeaderMap,
) -> Result<Vec<Integration>> {
    let external_id = named_account(headers)?;
    let found = api
        .ctx
        .store
        .get_account_by_external(partner.id, external_id)
        .await?;
    let Some(account) = found else {
        return match external_id {
            DEFAULT_ACCOUNT => Ok(Vec::new()),
            _ => Err(ApiError::not_found("account")),
        };
    };
    let now = api.ctx.now();
    let found = connections(api, &account, None).await?;
    Ok(found
        .iter()
        .map(|connection| Integration::of(connection, now))
        .collect())
}
