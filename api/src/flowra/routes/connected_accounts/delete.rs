//! `DELETE /connected_accounts/{id}`: local use stops at once; telling the provider is a job.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::RequestId;
use latchkey_store::Listed;
use latchkey_telemetry::Chain;

use crate::{
    audit,
    auth::Partner,
    durable,
    error::{ApiError, Code},
    extract::{Id, Path},
    flowra::{
        account,
        shape::{Bare, Simple},
        user::Named,
    },
    reply::Result,
    state::Api,
};

/// Delete a connected account
///
/// Tools stop at once; a job revokes the grant at the provider. A link that was not followed to its end no longer
/// works.
#[utoipa::path(delete, path = "/api/v1/connected_accounts/{connected_account_id}",
    tag = "flowra: connected accounts",
    params(("connected_account_id" = String, Path, description = "Its id",
        example = "019aa000-0000-7000-8000-000000000000"),
        ("x-username" = Option<String>, Header, description = "The external user")),
    responses((status = 200, body = Simple)))]
pub(crate) async fn delete_connected_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Id(request_id): Id,
    Path(id): Path<String>,
) -> Result<Bare<Simple>> {
    let row = account::find(&api, &partner, &user, &id).await?;
    remove(&api, &partner, request_id, &row).await?;
    Ok(Simple::DONE)
}

/// Deletes a connection, and has its grant revoked; or a link.
pub(crate) async fn remove(
    api: &Api,
    partner: &Partner,
    request_id: RequestId,
    row: &Listed,
) -> Result<()> {
    let (store, now, id) = (&api.ctx.store, api.ctx.now(), account::id_of(row));
    match row {
        Listed::Link(_) => {
            if !store.delete_link(partner.id, id, now).await? {
                let said = "This account is being connected in this moment. Try again shortly.";
                return Err(ApiError::new(Code::Conflict, said));
            }
        }
        Listed::Connection(_) => {
            let gone = store
                .mark_disconnected(partner.id, id, Some("disconnected"), now)
                .await?;
            api.reach.changed();
            let gone = gone.ok_or_else(|| ApiError::not_found("connected account"))?;
            // It is disconnected; the scheduler finds grants that wait for a revocation.
            if let Err(error) = durable::revoke(api, &gone, request_id).await {
                tracing::error!(error = %Chain(&error), grant = %gone.grant.id,
                    "the job that revokes a grant was not written");
            }
        }
    }
    let subject = id.to_string();
    audit::by_partner(api, partner, request_id, "integration.disconnect", &subject).await;
    Ok(())
}
