//! [`Context`]: what every role gets, brought up in one place and one order.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use latchkey_domain::{Clock, Entropy, Timestamp};
use latchkey_jobs::{Queue, Replies, Signals};
use latchkey_limits::{BreakerRules, Breakers, CallLimits};
use latchkey_oauth::{Cidr, Egress, HttpLimits, ProviderHttp};
use latchkey_providers::Catalog;
use latchkey_store::Store;
use latchkey_telemetry::Metrics;
use latchkey_vault::{KeyRing, Pepper, random_token};
use secrecy::SecretString;

use crate::{Config, Sealer, StartError, Stopper, engine::Engine, fleet};

/// Everything a role works with. Clones share it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The settings.
    pub config: Arc<Config>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
    /// The truth.
    pub store: Store,
    /// Secrets in and out of it.
    pub sealer: Arc<Sealer>,
    /// What API keys are hashed with.
    pub pepper: Arc<Pepper>,
    /// The providers.
    pub catalog: Arc<Catalog>,
    /// Jobs to workers.
    pub queue: Arc<dyn Queue>,
    /// Answers to waiting callers.
    pub replies: Arc<dyn Replies>,
    /// Wake-ups of those who wait for a row.
    pub signals: Arc<dyn Signals>,
    /// Plan limits per partner, and budgets of providers.
    pub limits: Arc<dyn CallLimits>,
    /// Changes of partners made in this process: what was read before one is read again. Other processes see
    /// them when what they keep ends, within 5 s.
    pub partner_changes: Arc<AtomicU64>,
    /// The same for accounts and connections.
    pub connection_changes: Arc<AtomicU64>,
    /// Breakers per provider and auth config.
    pub breakers: Arc<Breakers>,
    /// The only sender of provider requests.
    pub http: ProviderHttp,
    /// The sender of partners' callbacks, held to an egress list of its own.
    pub callback_http: ProviderHttp,
    /// Numbers for the operator.
    pub metrics: Metrics,
    /// How this process ends.
    pub stopper: Stopper,
    /// What operator requests must carry.
    pub operator_token: SecretString,
    /// Where journals and run.json live.
    pub data_dir: PathBuf,
}

impl Context {
    /// Brings up the engine that the settings name. For the embedded one the caller holds the data
    /// directory's lock.
    ///
    /// # Errors
    /// [`StartError`] in words that say what to do; nothing is served after one.
    pub async fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        stopper: Stopper,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        let catalog = Catalog::load(config.catalog_dir.as_deref()).map_err(StartError::Catalog)?;
        let http = sender(
            "egress_allow",
            &config.egress_allow,
            config.refresh.concurrency,
        )?;
        let allow = &config.callbacks.egress_allow;
        let callback_http = sender("callbacks.egress_allow", allow, 0)?;
        let ring = key_ring(&config, &*entropy)?;
        let engine = Engine::open(&config, &clock, &*entropy, &metrics).await?;
        let Engine {
            clock,
            store,
            queue,
            replies,
            signals,
            limits,
        } = engine;
        let sealer = Sealer::new(
            ring,
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            metrics.clone(),
        );
        let pepper = sealer.pepper().await.map_err(StartError::Seal)?;
        let operator_token = config
            .operator_token
            .clone()
            .unwrap_or_else(|| random_token(&*entropy));
        Ok(Self {
            data_dir: config.data_dir.clone(),
            queue,
            replies,
            signals,
            limits,
            partner_changes: Arc::default(),
            connection_changes: Arc::default(),
            breakers: Arc::new(Breakers::new(BreakerRules::default())),
            config: Arc::new(config),
            sealer: Arc::new(sealer),
            pepper: Arc::new(pepper),
            catalog: Arc::new(catalog),
            clock,
            entropy,
            store,
            http,
            callback_http,
            metrics,
            stopper,
            operator_token,
        })
    }

    /// Now, by the clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The key-encryption keys: from the setting, else from the file, which the first start of an embedded engine
/// makes.
///
/// # Errors
/// [`StartError`] naming the file or setting; never its content.
pub fn key_ring(config: &Config, entropy: &dyn Entropy) -> Result<KeyRing, StartError> {
    if config.is_fleet() {
        return fleet::key_ring(config);
    }
    if let Some(key) = &config.key {
        return KeyRing::from_text(key).map_err(StartError::KeySetting);
    }
    KeyRing::load_or_create(&key_file(config), entropy).map_err(StartError::KeyFile)
}

/// Where the key file is.
pub fn key_file(config: &Config) -> PathBuf {
    config
        .key_file
        .clone()
        .unwrap_or_else(|| config.data_dir.join("key"))
}

/// A sender that reaches public addresses and those of the list that the setting `name` holds, made for this
/// many requests at once to one host.
fn sender(
    name: &'static str,
    allow: &[String],
    at_once: usize,
) -> Result<ProviderHttp, StartError> {
    let block = |text: &String| {
        text.parse::<Cidr>()
            .map_err(|error| crate::ConfigError::Invalid {
                name,
                problem: error.to_string(),
            })
    };
    let allow = allow.iter().map(block).collect::<Result<_, _>>()?;
    // Connections beyond those kept would be opened anew for each request.
    let defaults = HttpLimits::default();
    let limits = HttpLimits {
        idle_per_host: defaults.idle_per_host.max(at_once),
        ..defaults
    };
    ProviderHttp::new(limits, Egress::new(allow)).map_err(StartError::Http)
}
