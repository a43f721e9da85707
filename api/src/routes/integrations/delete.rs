//! `DELETE /accounts/{id}/integrations/{provider}`: local use stops at once; telling the provider is a job.

use std::sync::Arc;

use axum::extract::State;
use latchkey_telemetry::Chain;
use serde::Serialize;
use utoipa::ToSchema;

use super::connections;
use crate::{
    audit,
    auth::Partner,
    durable,
    extract::{Id, Path},
    reach,
    reply::{Envelope, Reply, Result},
    routes::accounts,
    state::Api,
};

/// The account is not connected there any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct Disconnected {
    /// Always `true`.
    #[schema(example = true)]
    deleted: bool,
    /// Where.
    #[schema(example = "google")]
    provider: String,
    /// The jobs that revoke the grants there: `GET /jobs/{id}` shows each receipt.
    revocation_jobs: Vec<String>,
}

/// Disconnect an account from a provider
///
/// All of the account's connections there. Calls stop at once, whatever the provider answers.
#[utoipa::path(delete, path = "/api/v1/accounts/{account_id}/integrations/{provider}", tag = "integrations",
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`"),
        ("provider" = String, Path, description = "The provider")),
    responses((status = 200, body = Envelope<Disconnected>)))]
pub(crate) async fn disconnect_integration(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Path((account, provider)): Path<(String, String)>,
) -> Result<Reply<Disconnected>> {
    let account = accounts::find(&api, &partner, &account).await?;
    partner.may_reach(&provider)?;
    let mut marked = Vec::new();
    for connection in connections(&api, &account, Some(&provider)).await? {
        let (store, now) = (&api.ctx.store, api.ctx.now());
        let gone =
            store.mark_disconnected(partner.id, connection.row.id, Some("disconnected"), now);
        marked.extend(gone.await?);
    }
    api.reach.changed();
    if marked.is_empty() {
        return Err(reach::not_connected(&account, &provider));
    }
    let mut revocation_jobs = Vec::new();
    for connection in &marked {
        match durable::revoke(&api, connection, id).await {
            Ok(job) => revocation_jobs.push(job.to_string()),
            // It is disconnected; the scheduler finds grants that wait for a revocation.
            Err(error) => tracing::error!(error = %Chain(&error), grant = %connection.grant.id,
                "the job that revokes a grant was not written"),
        }
        let subject = connection.row.id.to_string();
        audit::by_partner(&api, &partner, id, "integration.disconnect", &subject).await;
    }
    Ok(Reply(Disconnected {
        deleted: true,
        provider,
        revocation_jobs,
    }))
}
