//! `POST /accounts/{id}/integrations/{provider}/refresh`: a job that refreshes the tokens now.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use latchkey_domain::states::ConnectionStatus;
use latchkey_jobs::kinds::RefreshGrants;
use latchkey_store::JobRow;

use super::primary;
use crate::{
    auth::Partner,
    durable,
    error::{ApiError, Code},
    extract::{Id, Path},
    reach,
    reply::{Envelope, Result},
    routes::{accounts, jobs::Accepted},
    state::Api,
};

/// Refresh an integration's tokens
///
/// Latchkey does this by itself before they end; ask for it to see whether a grant still lives.
#[utoipa::path(post, path = "/api/v1/accounts/{account_id}/integrations/{provider}/refresh",
    tag = "integrations",
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`"),
        ("provider" = String, Path, description = "The provider")),
    responses((status = 202, body = Envelope<Accepted>)))]
pub(crate) async fn refresh_integration(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Path((account, provider)): Path<(String, String)>,
) -> Result<Response> {
    let account = accounts::find(&api, &partner, &account).await?;
    let connection = primary(&api, &account, &provider).await?;
    partner.may_reach(&provider)?;
    if connection.status(api.ctx.now()) == ConnectionStatus::NeedsReauth {
        let reason = connection.reason().unwrap_or("grant_lost");
        return Err(reach::needs_user(&account, &provider, reason));
    }
    if !connection.grant.refreshable {
        return Err(ApiError::new(
            Code::Conflict,
            "The provider gave no refresh token for this integration: its user connects again instead.",
        ));
    }
    let kind = RefreshGrants {
        grants: vec![(partner.id, connection.grant.id)],
        asked: true,
    };
    let row = JobRow {
        visible: true,
        account_id: Some(account.id),
        provider: Some(provider),
        action: Some("refresh".to_owned()),
        ..durable::row(&api, partner.id, id, &kind)?
    };
    let job = durable::wake_up::<RefreshGrants>(&api, &row, id);
    let accepted = Accepted::of(&api, &row);
    api.ctx.store.insert_job(row).await?;
    durable::push(&api, job).await;
    Ok(accepted.into_answer())
}
