//! Making many grants at once without a browser, for benches and for tests that import grants.

use std::sync::Arc;

use latchkey_domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clients::DEFAULT_CLIENT_ID,
    grants::{Consent, Issued},
    limits::MAX_SEED,
    routes::authorize::{SCOPES, is_scope, is_user},
    settings::SettingsError,
    state::{Shared, lock},
};

/// What grants to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// How many, at most 100,000.
    pub count: usize,
    /// Life of the first access tokens in seconds; by default what the settings say. Refreshed ones
    /// follow the settings.
    #[serde(default)]
    pub access_lifetime_s: Option<f64>,
    /// The client that holds them; by default the one every sandbox has.
    #[serde(default = "default_client")]
    pub client_id: String,
    /// What they allow; by default everything of the sandbox's API.
    #[serde(default = "default_scope")]
    pub scope: String,
    /// Users are named `<prefix>-<grant number>`.
    #[serde(default = "default_prefix")]
    pub user_prefix: String,
}

fn default_client() -> String {
    DEFAULT_CLIENT_ID.to_owned()
}

fn default_scope() -> String {
    SCOPES.join(" ")
}

fn default_prefix() -> String {
    "seed".to_owned()
}

impl Seed {
    /// That many grants, all else by default.
    pub fn new(count: usize) -> Self {
        Self {
            count,
            access_lifetime_s: None,
            client_id: default_client(),
            scope: default_scope(),
            user_prefix: default_prefix(),
        }
    }
}

/// A grant that was made, with its tokens.
#[derive(Clone, Serialize, Deserialize)]
pub struct SeededGrant {
    /// Its number.
    pub grant: u32,
    /// Its user.
    pub user: String,
    /// Its access token.
    pub access_token: String,
    /// Its refresh token, unless the settings leave it out.
    pub refresh_token: Option<String>,
    /// Life of the access token in whole seconds.
    pub expires_in: u64,
    /// End of the access token, RFC 3339.
    pub expires_at: String,
    /// What it allows.
    pub scope: String,
}

impl std::fmt::Debug for SeededGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SeededGrant({} of {})", self.grant, self.user)
    }
}

/// Grants that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Too many at once.
    #[error("count must be at most {MAX_SEED}")]
    Count,
    /// An unknown client.
    #[error("there is no client '{0}'")]
    Client(String),
    /// A malformed scope or user prefix.
    #[error("scope and user_prefix need the form of RFC 6749 and of a user name")]
    Form,
    /// A lifetime out of range.
    #[error("the lifetime is out of range")]
    Lifetime(#[source] SettingsError),
    /// The sandbox is full.
    #[error("the sandbox holds no more grants")]
    Full,
}

/// Makes the grants; a full table keeps those that were made.
pub(crate) fn seed(shared: &Shared, seed: &Seed) -> Result<Vec<SeededGrant>, SeedError> {
    if seed.count > MAX_SEED {
        return Err(SeedError::Count);
    }
    if shared.clients.get(&seed.client_id).is_none() {
        return Err(SeedError::Client(seed.client_id.clone()));
    }
    if !is_scope(&seed.scope) || !is_user(&seed.user_prefix) {
        return Err(SeedError::Form);
    }
    let mut settings = shared.settings();
    settings.access_lifetime_s = seed.access_lifetime_s.unwrap_or(settings.access_lifetime_s);
    let settings = settings.check().map_err(SeedError::Lifetime)?;
    let now = shared.now();
    let (client, scope): (Arc<str>, Arc<str>) =
        (seed.client_id.as_str().into(), seed.scope.as_str().into());
    let mut made = Vec::with_capacity(seed.count);
    for _ in 0..seed.count {
        let mut grants = lock(&shared.grants);
        let consent = Consent {
            client: client.clone(),
            user: format!("{}-{}", seed.user_prefix, grants.made()).into(),
            scope: scope.clone(),
        };
        let issued = grants
            .make(consent, &settings, now)
            .ok_or(SeedError::Full)?;
        drop(grants);
        made.push(shown(shared, &issued, now));
    }
    Ok(made)
}

fn shown(shared: &Shared, issued: &Issued, now: Timestamp) -> SeededGrant {
    SeededGrant {
        grant: issued.access.grant,
        user: issued.user.to_string(),
        access_token: shared.minter.access(issued.access),
        refresh_token: issued.refresh.map(|claims| shared.minter.refresh(claims)),
        expires_in: now.until(issued.access.expires_at).as_secs(),
        expires_at: issued.access.expires_at.to_string(),
        scope: issued.scope.to_string(),
    }
}
