//! `PATCH /accounts/{id}`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Account, check_account, find};
use crate::{
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::{Body, Path, nullable},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateAccount {
    /// A name for people, at most 255 characters; `null` clears it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    display_name: Option<Option<String>>,
    /// Replaces all metadata.
    #[schema(value_type = Option<Object>)]
    metadata: Option<JsonMap>,
}

/// Change an account
#[utoipa::path(patch, path = "/api/v1/accounts/{account_id}", tag = "accounts", request_body = UpdateAccount,
    params(("account_id" = String, Path, description = "The account's id, or `ext:` and your `external_id`")),
    responses((status = 200, body = Envelope<Account>)))]
pub(crate) async fn update_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Path(account): Path<String>,
    Body(body): Body<UpdateAccount>,
) -> Result<Reply<Account>> {
    let display_name = body.display_name.as_ref().map(Option::as_deref);
    let mut checks = Checks::default();
    check_account(&mut checks, display_name.flatten(), body.metadata.as_ref());
    checks.finish()?;
    let account = find(&api, &partner, &account).await?;
    let now = api.ctx.now();
    let updated = api
        .ctx
        .store
        .update_account(
            partner.id,
            account.id,
            display_name,
            body.metadata.as_ref(),
            now,
        )
        .await?;
    Ok(Reply(
        updated
            .ok_or_else(|| ApiError::not_found("account"))?
            .into(),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn metadata_is_replaced_and_null_clears_the_name() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let path = format!("/api/v1/accounts/{}", acme.account("a").await);
        let full = json!({"display_name": "Ada", "metadata": {"a": 1, "b": 2}});
        acme.client.patch(&path, full).await.data();
        let changed = acme
            .client
            .patch(&path, json!({"metadata": {"c": 3}}))
            .await
            .data();
        assert_eq!(
            (&changed["display_name"], &changed["metadata"]),
            (&json!("Ada"), &json!({"c": 3}))
        );
        let cleared = acme
            .client
            .patch("/api/v1/accounts/ext:a", json!({"display_name": null}))
            .await;
        assert_eq!(cleared.data()["display_name"], json!(null));
        assert_eq!(cleared.data()["metadata"], json!({"c": 3}));
        for wrong in [
            json!({"external_id": "b"}),
            json!({"display_name": ""}),
            json!({"metadata": 1}),
        ] {
            assert_eq!(
                acme.client.patch(&path, wrong).await.code(),
                "INVALID_REQUEST"
            );
        }
    }
}
