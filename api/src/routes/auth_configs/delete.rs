//! `DELETE /auth_configs/{id}`: only while nothing is connected with it, because its connections could never
//! be refreshed again.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    audit,
    auth::Partner,
    error::{ApiError, Code},
    extract::{Id, Path, id},
    reply::{Deleted, Envelope, Reply, Result},
    state::Api,
};

/// Delete an OAuth client of yours
///
/// Refused with 409 while accounts are connected with it: disconnect them first, or disable it.
#[utoipa::path(delete, path = "/api/v1/auth_configs/{auth_config_id}", tag = "auth configs",
    params(("auth_config_id" = String, Path, description = "Its id (`ac_…`)")),
    responses((status = 200, body = Envelope<Deleted>)))]
pub(crate) async fn delete_auth_config(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(request_id): Id,
    Path(config): Path<String>,
) -> Result<Reply<Deleted>> {
    let config_id = id(&config, "auth config")?;
    let row = api.ctx.store.get_auth_config(partner.id, config_id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("auth config"))?;
    partner.may_reach(&row.provider)?;
    match api
        .ctx
        .store
        .delete_auth_config(partner.id, config_id)
        .await
    {
        Ok(true) => {}
        Ok(false) => return Err(ApiError::not_found("auth config")),
        Err(error) if error.is_conflict() => {
            return Err(ApiError::new(
                Code::Conflict,
                "Accounts are connected with this auth config. Disconnect them first, or disable it.",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    audit::by_partner(&api, &partner, request_id, "auth_config.delete", &config).await;
    Ok(Deleted::YES)
}

#[cfg(test)]
mod tests {
    use crate::testing::TestApi;

    #[tokio::test]
    async fn not_while_something_is_connected_with_it() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let account = acme.account("a").await;
        let used = api.connection(&acme, &account).await.row.auth_config_id;
        let free = api.auth_config(&acme).await;
        let used = acme
            .client
            .delete(&format!("/api/v1/auth_configs/{used}"))
            .await;
        insta::assert_snapshot!(used.shown(), @r#"
        409 Conflict
        {
          "error": "Accounts are connected with this auth config. Disconnect them first, or disable it.",
          "error_code": "CONFLICT",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        let free = format!("/api/v1/auth_configs/{free}");
        assert_eq!(acme.client.delete(&free).await.data()["deleted"], true);
        assert_eq!(acme.client.delete(&free).await.code(), "NOT_FOUND");
    }
}
