//! An OAuth client as handlers use it: the auth config, its opened secret and its provider's entry. Kept for
//! a few seconds, because every call needs one.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{AuthConfigId, PartnerId, states::AuthConfigStatus};
use latchkey_oauth::{Client, OauthSpec, Vars};
use latchkey_providers::{Catalog, Provider};
use latchkey_runtime::{Context, SealError, Sealer};
use latchkey_store::{AuthConfigRow, JsonMap, Store, StoreError};
use latchkey_telemetry::Chain;
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};

/// How long a client is kept: changed credentials are used everywhere after it.
const KEPT: Duration = Duration::from_secs(5);
/// Clients kept, some 2 KiB each.
const KEPT_MAX: u64 = 10_000;

/// Why there is no client to work with.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The auth config is gone.
    #[error("the auth config does not exist any more")]
    Gone,
    /// The catalogue no longer has its provider.
    #[error("the catalogue has no provider '{0}'")]
    NoProvider(String),
    /// The client secret does not open.
    #[error("the client secret does not open")]
    Seal(#[source] SealError),
    /// The opened secret is no text.
    #[error("the client secret is no text")]
    NotText,
    /// The store failed.
    #[error("the auth config could not be read")]
    Store(#[source] StoreError),
}

impl ClientError {
    /// Whether it is the store that failed, which may work again soon.
    pub(crate) const fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Seal(SealError::Store { .. }))
    }
}

/// An OAuth client.
#[derive(Debug)]
pub(crate) struct OauthClient {
    catalog: Arc<Catalog>,
    /// Its row.
    pub(crate) config: AuthConfigRow,
    secret: Option<SecretString>,
}

impl OauthClient {
    /// Its provider's entry.
    pub(crate) fn provider(&self) -> Result<&Provider, ClientError> {
        let slug = &self.config.provider;
        let provider = self.catalog.get(slug);
        provider.ok_or_else(|| ClientError::NoProvider(slug.clone()))
    }

    /// How its provider speaks to it.
    pub(crate) fn spec(&self) -> Result<&OauthSpec, ClientError> {
        Ok(self.provider()?.spec(&self.config.params))
    }

    /// The values of placeholders for one connection.
    pub(crate) fn vars<'a>(&'a self, connection: &'a JsonMap, token: &'a JsonMap) -> Vars<'a> {
        Vars {
            client_id: &self.config.client_id,
            app: &self.config.params,
            connection,
            token,
        }
    }

    /// The credentials, for requests to the provider's OAuth endpoints.
    pub(crate) fn client<'a>(&'a self, connection: &'a JsonMap, token: &'a JsonMap) -> Client<'a> {
        Client {
            secret: self.secret.as_ref(),
            vars: self.vars(connection, token),
        }
    }
}

/// The clients of this worker.
#[derive(Debug)]
pub(crate) struct Clients {
    store: Store,
    sealer: Arc<Sealer>,
    catalog: Arc<Catalog>,
    kept: Cache<(PartnerId, AuthConfigId), Arc<OauthClient>>,
}

impl Clients {
    /// No client read yet.
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            store: ctx.store.clone(),
            sealer: Arc::clone(&ctx.sealer),
            catalog: Arc::clone(&ctx.catalog),
            kept: Cache::builder()
                .max_capacity(KEPT_MAX)
                .time_to_live(KEPT)
                .build(),
        }
    }

    /// The client of an auth config that this partner may use: its own, or the operator's.
    pub(crate) async fn get(
        &self,
        partner: PartnerId,
        id: AuthConfigId,
    ) -> Result<Arc<OauthClient>, ClientError> {
        if let Some(kept) = self.kept.get(&(partner, id)).await {
            return Ok(kept);
        }
        let load = async { self.load(partner, id).await.map(Arc::new) };
        // Boxed: reading one is rare, and would make the future of everybody who has it at hand 8 KiB larger.
        Box::pin(self.kept.try_get_with((partner, id), load))
            .await
            .map_err(|error| ClientError::clone(&error))
    }

    /// Reads it again at the next use.
    pub(crate) async fn forget(&self, partner: PartnerId, id: AuthConfigId) {
        self.kept.invalidate(&(partner, id)).await;
    }

    async fn load(&self, partner: PartnerId, id: AuthConfigId) -> Result<OauthClient, ClientError> {
        let config = self.store.get_usable_auth_config(partner, id).await;
        let config = config
            .map_err(ClientError::Store)?
            .ok_or(ClientError::Gone)?;
        let secret = match &config.client_secret {
            Some(sealed) => Some(self.secret(&config, sealed).await?),
            None => None,
        };
        Ok(OauthClient {
            catalog: Arc::clone(&self.catalog),
            config,
            secret,
        })
    }

    async fn secret(
        &self,
        config: &AuthConfigRow,
        sealed: &[u8],
    ) -> Result<SecretString, ClientError> {
        let row = config.id.to_string();
        let opened = self
            .sealer
            .open(
                config.partner_id,
                "auth_configs",
                "client_secret",
                &row,
                0,
                sealed,
            )
            .await
            .map_err(ClientError::Seal)?;
        let text = std::str::from_utf8(opened.expose_secret()).map_err(|_| ClientError::NotText)?;
        Ok(text.into())
    }
}

/// The provider refused the client itself: its auth config is paused, so that nobody goes on asking, and its
/// connections stay as they are.
pub(crate) async fn pause(ctx: &Context, client: &OauthClient, code: &str) {
    let config = &client.config;
    let paused = ctx
        .store
        .set_auth_config_status(
            config.partner_id,
            config.id,
            AuthConfigStatus::Paused,
            Some(code),
            ctx.now(),
        )
        .await;
    match paused {
        Ok(true) => {
            ctx.metrics.auth_config_paused(&config.provider);
            tracing::error!(
                auth_config = %config.id, code, "the provider refuses this client: the auth config is paused"
            );
        }
        Ok(false) => {}
        Err(error) => {
            tracing::error!(auth_config = %config.id, error = %Chain(&error), "it could not be paused");
        }
    }
}
