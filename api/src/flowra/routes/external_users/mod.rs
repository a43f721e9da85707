//! `/external-users`: a partner's end users by name, which are its accounts.

pub(crate) mod by_name;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod toggle;

use latchkey_store::EndUser;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{openapi::Time, reach::DEFAULT_ACCOUNT};

/// An external user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExternalUser {
    /// Its id.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    id: String,
    /// Your name for it: `x-username` names it so.
    #[schema(example = "user_42")]
    name: String,
    /// Whether it may be acted for.
    is_active: bool,
    /// Whether it is the user that acts where none is named.
    is_default: bool,
    /// `project_default` or `username`.
    #[schema(example = "username")]
    source: &'static str,
    /// When it was made.
    created_at: Time,
    /// When it last changed.
    updated_at: Time,
}

impl From<EndUser> for ExternalUser {
    fn from(EndUser { account, active }: EndUser) -> Self {
        let is_default = account.external_id == DEFAULT_ACCOUNT;
        Self {
            id: account.id.to_string(),
            name: account.external_id,
            is_active: active,
            is_default,
            source: if is_default {
                "project_default"
            } else {
                "username"
            },
            created_at: Time(account.created_at),
            updated_at: Time(account.updated_at),
        }
    }
}
