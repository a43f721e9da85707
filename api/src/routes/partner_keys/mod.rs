//! `/partner/keys`: the partner's API keys. Two of each mode may live at once, so that one can be replaced
//! without a pause. The operator's routes use the same functions.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod revoke;

use latchkey_domain::{KeyId, PartnerId};
use latchkey_store::{ApiKeyRow, KeyMode};
use latchkey_vault::{ApiKey, Mode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    check::Checks,
    error::{ApiError, Code},
    openapi::Time,
    reply::Result,
    state::Api,
};

/// Living keys of one mode: one in use and one that replaces it.
const MAX_LIVE: u32 = 2;
/// Characters of a key's name.
const MAX_NAME: usize = 100;

/// What a key reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeName {
    /// Every provider; billed.
    #[default]
    Live,
    /// The sandbox provider only; never billed.
    Test,
}

/// The key to make.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewKey {
    /// `live` (the default) or `test`.
    pub(crate) mode: ModeName,
    /// A name to tell it by, at most 100 characters.
    pub(crate) name: Option<String>,
}

/// A key, as it is listed.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its id.
    #[schema(example = "key_019aa000000070008000000000000000")]
    id: String,
    /// What it begins with.
    #[schema(example = "sk_live_4fGh81Kz")]
    prefix: String,
    /// What it reaches.
    mode: ModeName,
    /// Its name.
    name: Option<String>,
    /// When it was made.
    created_at: Time,
    /// When it was last used, to the minute.
    last_used_at: Option<Time>,
    /// When it was revoked; `null` while it lives.
    revoked_at: Option<Time>,
}

impl From<ApiKeyRow> for KeyView {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.id.to_string(),
            prefix: row.lookup,
            mode: match row.mode {
                KeyMode::Live => ModeName::Live,
                KeyMode::Test => ModeName::Test,
            },
            name: row.name,
            created_at: Time(row.created_at),
            last_used_at: row.last_used_at.map(Time),
            revoked_at: row.revoked_at.map(Time),
        }
    }
}

/// A new key, with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// The key itself. It is shown this once and not stored.
    #[schema(example = "sk_live_4fGh81KzW0cYqTn3LmRvXp7SdBa2Ue9JhI1oA5")]
    key: String,
    /// What is stored of it.
    #[serde(flatten)]
    view: KeyView,
}

impl MadeKey {
    /// The key's id.
    pub(crate) fn id(&self) -> &str {
        &self.view.id
    }
}

/// The keys of a partner.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// Newest first, revoked ones included.
    pub(crate) keys: Vec<KeyView>,
}

/// Makes a key for a partner.
pub(crate) async fn make(api: &Api, partner: PartnerId, new: NewKey) -> Result<MadeKey> {
    let mut checks = Checks::default();
    checks.maybe_text("name", new.name.as_deref(), 1, MAX_NAME);
    checks.finish()?;
    let (mode, stored) = match new.mode {
        ModeName::Live => (Mode::Live, KeyMode::Live),
        ModeName::Test => (Mode::Test, KeyMode::Test),
    };
    let now = api.ctx.now();
    let key = ApiKey::generate(mode, &*api.ctx.entropy);
    let row = ApiKeyRow {
        id: KeyId::new(now, &*api.ctx.entropy),
        partner_id: partner,
        lookup: key.lookup().to_owned(),
        hash: api.ctx.pepper.hash(&key).to_vec(),
        mode: stored,
        name: new.name,
        created_at: now,
        revoked_at: None,
        last_used_at: None,
    };
    if !api.ctx.store.insert_api_key(&row, MAX_LIVE).await? {
        return Err(ApiError::new(
            Code::Conflict,
            format!(
                "There are {MAX_LIVE} {} keys in use already. Revoke one first.",
                stored.as_str()
            ),
        ));
    }
    api.keys.changed();
    Ok(MadeKey {
        key: key.expose().to_owned(),
        view: row.into(),
    })
}

/// Revokes a living key of a partner.
pub(crate) async fn revoke(api: &Api, partner: PartnerId, id: KeyId) -> Result<()> {
    if !api
        .ctx
        .store
        .revoke_api_key(partner, id, api.ctx.now())
        .await?
    {
        return Err(ApiError::not_found("key"));
    }
    api.keys.changed();
    Ok(())
}
