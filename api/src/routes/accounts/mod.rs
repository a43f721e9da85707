//! `/accounts`: the partner's end users.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod update;

use latchkey_store::{AccountRow, JsonMap};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Partner, check::Checks, error::ApiError, openapi::Time, reply::Result, state::Api,
};

/// Characters of an external id and of a display name.
const MAX_TEXT: usize = 255;
/// Bytes of metadata as JSON.
const MAX_METADATA: usize = 16 * 1024;
/// What stands before an external id where an id is expected.
const EXTERNAL: &str = "ext:";

/// An account.
#[derive(Serialize, ToSchema)]
pub(crate) struct Account {
    /// Its id.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    id: String,
    /// Your name for it.
    #[schema(example = "user_42")]
    external_id: String,
    /// A name for people: the connect page shows it.
    display_name: Option<String>,
    /// Your own data.
    #[schema(value_type = Object)]
    metadata: JsonMap,
    /// When it was made.
    created_at: Time,
    /// When it last changed.
    updated_at: Time,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: row.id.to_string(),
            external_id: row.external_id,
            display_name: row.display_name,
            metadata: row.metadata,
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
        }
    }
}

/// The partner's account that a path names: by our id, or as `ext:<external_id>`.
///
/// # Errors
/// The same 404 for a malformed id, a missing account and another partner's.
pub(crate) async fn find(api: &Api, partner: &Partner, reference: &str) -> Result<AccountRow> {
    let store = &api.ctx.store;
    let found = match reference.strip_prefix(EXTERNAL) {
        Some(external) => store.get_account_by_external(partner.id, external).await?,
        None => match reference.parse() {
            Ok(id) => store.get_account(partner.id, id).await?,
            Err(_) => None,
        },
    };
    found.ok_or_else(|| ApiError::not_found("account"))
}

fn check_account(checks: &mut Checks, display_name: Option<&str>, metadata: Option<&JsonMap>) {
    checks.maybe_text("display_name", display_name, 1, MAX_TEXT);
    if let Some(metadata) = metadata {
        checks.json_size("metadata", metadata, MAX_METADATA);
    }
}
