//! `POST /connected_accounts/{id}/refresh`: new tokens where they can be had, else a link for the end user.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::RequestId;
use latchkey_jobs::kinds::RefreshGrants;
use latchkey_store::{JobRow, Listed, ListedConnection, Scheme, Standing};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Begin, begin, choose_config};
use crate::{
    auth::Partner,
    durable,
    error::{ApiError, Code},
    extract::{Id, Path},
    flowra::{
        account,
        shape::{Bare, One},
        status::Status,
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// What was begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refreshed {
    /// The connected account.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    id: String,
    /// Where it stood when it was asked.
    status: Status,
    /// The job that asks for new tokens; `GET /jobs/{id}` shows how it goes.
    job_id: Option<String>,
    /// Where the end user connects again, if that is what it takes.
    redirect_url: Option<String>,
}

/// Refresh a connected account
///
/// Latchkey does this by itself before tokens end. Where only the end user can help, the answer has a link.
#[utoipa::path(post, path = "/api/v1/connected_accounts/{connected_account_id}/refresh",
    tag = "flowra: connected accounts",
    params(("connected_account_id" = String, Path, description = "Its id",
        example = "019aa000-0000-7000-8000-000000000000"),
        ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = One<Refreshed>)))]
pub(crate) async fn refresh_connected_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Id(request_id): Id,
    Path(id): Path<String>,
) -> Result<Bare<One<Refreshed>>> {
    let row = account::find(&api, &partner, &user, &id).await?;
    let Listed::Connection(listed) = &row else {
        let said = "This account is not connected yet, so there is nothing to refresh.";
        return Err(ApiError::new(Code::Conflict, said));
    };
    let standing = Standing::of(&listed.connection, api.ctx.now());
    let standing = standing.ok_or_else(|| ApiError::not_found("connected account"))?;
    let mut refreshed = Refreshed {
        id: listed.connection.row.id.to_string(),
        status: Status::of(standing),
        job_id: None,
        redirect_url: None,
    };
    match standing {
        Standing::Lost | Standing::NeedsUser | Standing::Ended => {
            refreshed.redirect_url = Some(again(&api, &partner, &row).await?);
        }
        _ if listed.connection.grant.refreshable => {
            refreshed.job_id = Some(ask(&api, &partner, request_id, listed).await?);
        }
        _ => {
            let said =
                "This account holds nothing that could be refreshed: it has no refresh token.";
            return Err(ApiError::new(Code::Conflict, said));
        }
    }
    Ok(One::of(refreshed))
}

/// A link for connecting again.
async fn again(api: &Api, partner: &Partner, row: &Listed) -> Result<String> {
    let config = account::config_of(row).to_string();
    let (offered, client) = choose_config(api, partner, "authConfigId", &config).await?;
    let account = api
        .ctx
        .store
        .get_account(partner.id, account::account_of(row))
        .await?;
    let account = account.ok_or_else(|| ApiError::not_found("connected account"))?;
    let params = match row {
        Listed::Connection(c) if c.listed.scheme == Scheme::Oauth2 => {
            c.connection.row.params.clone()
        }
        _ => latchkey_store::JsonMap::new(),
    };
    let new = Begin {
        account: &account,
        offered: &offered,
        redirect_url: String::new(),
        params,
        expires_at: api.ctx.now() + api.ctx.config.connect.link,
        display_name: None,
    };
    let (_, _, secret) = begin(api, partner, &client, new).await?;
    Ok(format!(
        "{}/connect/{}",
        api.ctx.config.public_origin(),
        secret.expose_secret()
    ))
}

/// A job that asks for new tokens now.
async fn ask(
    api: &Api,
    partner: &Partner,
    request_id: RequestId,
    listed: &ListedConnection,
) -> Result<String> {
    let (row, grant) = (&listed.connection.row, &listed.connection.grant);
    let kind = RefreshGrants {
        grants: vec![(partner.id, grant.id)],
        asked: true,
    };
    let job = JobRow {
        visible: true,
        account_id: Some(row.account_id),
        provider: Some(row.provider.clone()),
        action: Some("refresh".to_owned()),
        ..durable::row(api, partner.id, request_id, &kind)?
    };
    let wake_up = durable::wake_up::<RefreshGrants>(api, &job, request_id);
    let id = job.id.to_string();
    api.ctx.store.insert_job(job).await?;
    durable::push(api, wake_up).await;
    Ok(id)
}
