//! `DELETE /accounts/{id}`: the account is gone at once; its grants are revoked at the providers by jobs.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::ConnectionFilter;
use latchkey_telemetry::Chain;
use serde::Serialize;
use utoipa::ToSchema;

use super::find;
use crate::{
    audit,
    auth::Partner,
    durable,
    error::ApiError,
    extract::{Id, Path},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// The account is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountDeleted {
    /// Always `true`.
    #[schema(example = true)]
    deleted: bool,
    /// The jobs that revoke its grants at the providers: `GET /jobs/{id}` shows each receipt.
    revocation_jobs: Vec<String>,
}

/// Delete an account
///
/// Local use of its grants stops at once; telling the providers is the work of jobs.
#[utoipa::path(delete, path = "/api/v1/accounts/{account_id}", tag = "accounts",
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`")),
    responses((status = 200, body = Envelope<AccountDeleted>)))]
pub(crate) async fn delete_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Path(account): Path<String>,
) -> Result<Reply<AccountDeleted>> {
    let account = find(&api, &partner, &account).await?;
    // Deleting it disconnects it: a test key does that at the sandbox alone.
    let filter = ConnectionFilter {
        account_id: Some(account.id),
        ..ConnectionFilter::default()
    };
    for connection in api.ctx.store.list_connections(partner.id, &filter).await? {
        partner.may_reach(&connection.row.provider)?;
    }
    let revoked = api
        .ctx
        .store
        .delete_account(partner.id, account.id, api.ctx.now())
        .await?;
    let revoked = revoked.ok_or_else(|| ApiError::not_found("account"))?;
    api.reach.changed();
    let mut revocation_jobs = Vec::new();
    for connection in &revoked {
        match durable::revoke(&api, connection, id).await {
            Ok(job) => revocation_jobs.push(job.to_string()),
            // The deletion stands; the scheduler finds grants that wait for a revocation.
            Err(error) => tracing::error!(error = %Chain(&error), grant = %connection.grant.id,
                "the job that revokes a grant was not written"),
        }
    }
    audit::by_partner(
        &api,
        &partner,
        id,
        "account.delete",
        &account.id.to_string(),
    )
    .await;
    Ok(Reply(AccountDeleted {
        deleted: true,
        revocation_jobs,
    }))
}

#[cfg(test)]
mod tests {
    use latchkey_domain::{JobId, states::GrantState};

    use crate::testing::TestApi;

    #[tokio::test]
    async fn its_grants_are_revoked_by_jobs_and_its_name_is_free_again() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let id = acme.account("a").await;
        let connection = api.connection(&acme, &id).await;
        let path = format!("/api/v1/accounts/{id}");
        let deleted = acme.client.delete(&path).await;
        insta::assert_snapshot!(deleted.shown(), @r#"
        200 OK
        {
          "data": {
            "deleted": true,
            "revocation_jobs": [
              "job_<id>"
            ]
          },
          "ok": true
        }
        "#);
        let job: JobId = deleted.data()["revocation_jobs"][0]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let store = &api.api.ctx.store;
        let job = store.get_job(acme.id, job).await.unwrap().unwrap();
        assert!(job.visible && job.kind == "revoke_grant");
        assert!(job.payload.contains(&connection.grant.id.to_string()));
        let left = store
            .get_connection(acme.id, connection.row.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(left.grant.state, GrantState::Revoking);
        assert_eq!(acme.client.get(&path).await.code(), "NOT_FOUND");
        assert_eq!(acme.client.delete(&path).await.code(), "NOT_FOUND");
        assert_ne!(acme.account("a").await, id);
    }
}
