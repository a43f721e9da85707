//! Who acts: the end user that `x-username` names, made on first use, or the partner's default user.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use latchkey_domain::AccountId;
use latchkey_store::{AccountRow, EndUser, JsonMap};

use crate::{
    auth::Partner,
    error::{ApiError, Code},
    reach::DEFAULT_ACCOUNT,
    reply::Result,
    state::Api,
};

/// The header that names the end user.
pub(crate) const HEADER: &str = "x-username";
/// Characters of a name.
pub(crate) const MAX_NAME: usize = 255;

/// The end user that `x-username` names; none without it. Part of every handler that acts for one.
#[derive(Clone, Debug)]
pub(crate) struct Named(pub(crate) Option<AccountRow>);

impl FromRequestParts<Arc<Api>> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self> {
        let partner = Partner::from_request_parts(parts, api).await?;
        let Some(name) = parts.headers.get(HEADER) else {
            return Ok(Self(None));
        };
        let name = name.to_str().unwrap_or("?").trim();
        find_or_make(api, &partner, HEADER, name)
            .await
            .map(|user| Self(Some(user)))
    }
}

impl Named {
    /// The named user, else the default user, which is made if it is not there.
    pub(crate) async fn or_default(self, api: &Api, partner: &Partner) -> Result<AccountRow> {
        match self.0 {
            Some(user) => Ok(user),
            None => find_or_make(api, partner, HEADER, DEFAULT_ACCOUNT).await,
        }
    }

    /// Whether the acting user may see what is this account's: anybody's without a name.
    pub(crate) fn sees(&self, account: AccountId) -> bool {
        self.0.as_ref().is_none_or(|user| user.id == account)
    }
}

/// The end user of this name, made if it is not there.
///
/// # Errors
/// 400 naming `field` for what is no name; 403 for one that was switched off.
pub(crate) async fn find_or_make(
    api: &Api,
    partner: &Partner,
    field: &str,
    name: &str,
) -> Result<AccountRow> {
    check_name(field, name)?;
    let store = &api.ctx.store;
    if let Some(user) = store.get_end_user(partner.id, name).await? {
        return admit(user);
    }
    match store.insert_account(&new(api, partner, name)).await {
        Ok(()) => {}
        // Somebody made it in this moment.
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(error.into()),
    }
    let made = store.get_end_user(partner.id, name).await?;
    admit(made.ok_or_else(|| ApiError::not_found("external user"))?)
}

fn admit(user: EndUser) -> Result<AccountRow> {
    if user.active {
        return Ok(user.account);
    }
    let text = format!(
        "The external user '{}' is inactive. PUT /api/v1/external-users/{}/toggle-active switches it on.",
        user.account.external_id, user.account.id
    );
    Err(ApiError::new(Code::UserInactive, text))
}

/// The row of a new end user.
pub(crate) fn new(api: &Api, partner: &Partner, name: &str) -> AccountRow {
    let now = api.ctx.now();
    AccountRow {
        id: AccountId::new(now, &*api.ctx.entropy),
        partner_id: partner.id,
        external_id: name.to_owned(),
        display_name: None,
        metadata: JsonMap::new(),
        created_at: now,
        updated_at: now,
        deleted_at: None,
    }
}

/// Flowra's rule for names.
pub(crate) fn check_name(field: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(ApiError::field(
        field,
        format!("must be 1 to {MAX_NAME} English letters, digits and . _ @ -"),
    ))
}
