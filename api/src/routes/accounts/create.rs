//! `POST /accounts`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::AccountId;
use latchkey_store::{AccountRow, JsonMap};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Account, MAX_TEXT, check_account};
use crate::{
    auth::Partner,
    check::Checks,
    error::{ApiError, Code},
    extract::Body,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// The account to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// Your name for this end user, 1–255 characters, unique among your accounts. Calls name the account by
    /// it in `X-Account-Id`.
    #[schema(example = "user_42")]
    external_id: String,
    /// A name for people, at most 255 characters: the connect page shows it.
    display_name: Option<String>,
    /// Your own data, at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<JsonMap>,
}

impl NewAccount {
    fn check(&self) -> Result<()> {
        let mut checks = Checks::default();
        checks.text("external_id", &self.external_id, 1, MAX_TEXT);
        // It travels in a header, where spaces at the ends are lost.
        let trimmed = self.external_id.trim() == self.external_id;
        checks.require(trimmed, "external_id", "must not begin or end with a space");
        check_account(
            &mut checks,
            self.display_name.as_deref(),
            self.metadata.as_ref(),
        );
        checks.finish()
    }
}

/// Make an account
#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = NewAccount,
    responses((status = 200, body = Envelope<Account>)))]
pub(crate) async fn create_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Body(body): Body<NewAccount>,
) -> Result<Reply<Account>> {
    body.check()?;
    let now = api.ctx.now();
    let row = AccountRow {
        id: AccountId::new(now, &*api.ctx.entropy),
        partner_id: partner.id,
        external_id: body.external_id,
        display_name: body.display_name,
        metadata: body.metadata.unwrap_or_default(),
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    match api.ctx.store.insert_account(&row).await {
        Ok(()) => Ok(Reply(row.into())),
        Err(error) if error.is_conflict() => Err(ApiError::new(
            Code::AlreadyExists,
            "An account with this external_id already exists. GET /accounts?external_id=… finds it.",
        )),
        Err(error) => Err(error.into()),
    }
}
