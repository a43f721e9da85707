//! The provider simulator: an OAuth 2.0 server with a small protected API on real sockets. It is what
//! `latchkey sandbox`, the demo, the benches, our tests and partners' own tests connect to. It behaves as
//! strictly as a good provider (PKCE, exact redirect URIs, single-use codes, rotating refresh tokens with
//! reuse detection), and on request as badly as the worst (`faults`). All of its state is in memory and
//! ends with it.
//!
//! Three groups of routes: `/oauth/*` and its metadata, `/api/*` behind access tokens, and `/sandbox/*`,
//! which steers and observes it. [`Sandbox::start`] runs it inside a program; its [`SandboxHandle`] offers
//! in Rust what the admin routes offer over HTTP.

mod clients;
mod counters;
mod dialect;
mod events;
mod expiring;
mod faults;
mod form;
mod grants;
pub mod limits;
mod messages;
mod pages;
mod routes;
mod seed;
mod server;
mod settings;
mod state;
mod tokens;
pub mod walk;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use latchkey_domain::{Clock, Entropy};
use latchkey_providers::Catalog;
use tokio::{net::TcpListener, task::JoinHandle};

pub use clients::{Client, ClientError, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET};
pub use counters::Counter;
pub use events::{Event, EventKind, EventPage};
pub use faults::{Fault, FaultError, FaultKind, Target};
pub use grants::GrantView;
pub use seed::{Seed, SeedError, SeededGrant};
pub use settings::{IssMode, Rotation, Settings, SettingsError};
use state::{Shared, lock};

/// How a sandbox begins.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Its origin and issuer as clients reach it; by default
    /// `http://<address of the listener>`.
    pub public_url: Option<String>,
    /// Its clients; by default [`DEFAULT_CLIENT_ID`] with [`DEFAULT_CLIENT_SECRET`] and any loopback
    /// redirect URI.
    pub clients: Vec<Client>,
    /// How it behaves at first.
    pub settings: Settings,
    /// The entries whose dialects it speaks, each at `/{slug}/{host}/…`; without it, none.
    pub catalog: Option<Catalog>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            clients: vec![Client::default_client()],
            settings: Settings::default(),
            catalog: None,
        }
    }
}

/// A sandbox that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener has no address.
    #[error("the sandbox cannot read the address of its listener")]
    Address(#[source] io::Error),
    /// A client of the configuration is wrong.
    #[error("a client of the sandbox is wrong")]
    Client(#[source] ClientError),
    /// A setting of the configuration is wrong.
    #[error("a setting of the sandbox is wrong")]
    Settings(#[source] SettingsError),
}

/// The provider simulator.
#[derive(Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Serves on the listener, in tasks of the current runtime, until the handle is stopped or dropped.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is wrong or the listener has no address.
    pub fn start(
        config: SandboxConfig,
        listener: TcpListener,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<SandboxHandle, StartError> {
        let address = listener.local_addr().map_err(StartError::Address)?;
        let base_url = config.public_url.unwrap_or(format!("http://{address}"));
        let base_url = base_url.trim_end_matches('/').to_owned();
        let settings = config.settings.check().map_err(StartError::Settings)?;
        let shared = Arc::new(Shared::new(
            base_url,
            settings,
            config.catalog,
            clock,
            entropy,
        ));
        for client in config.clients {
            shared
                .clients
                .register(client)
                .map_err(StartError::Client)?;
        }
        let router = routes::router(shared.clone());
        let serving = tokio::spawn(server::serve(listener, router, shared.clone()));
        Ok(SandboxHandle { shared, serving })
    }
}

/// A running sandbox. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct SandboxHandle {
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl SandboxHandle {
    /// Its origin and issuer, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// One counter.
    pub fn count(&self, counter: Counter) -> u64 {
        self.shared.counters.get(counter)
    }

    /// All counters.
    pub fn counters(&self) -> BTreeMap<Counter, u64> {
        self.shared.counters.snapshot()
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        self.shared.counters.reset();
    }

    /// Waits until a counter shows at least this much or the time is over; gives its value then.
    pub async fn wait(&self, counter: Counter, at_least: u64, timeout: Duration) -> u64 {
        self.shared.counters.wait(counter, at_least, timeout).await
    }

    /// The events after number `since`, one page of them.
    pub fn events(&self, since: u64) -> EventPage {
        self.shared.events.since(since)
    }

    /// How it behaves now.
    pub fn settings(&self) -> Settings {
        self.shared.settings()
    }

    /// Changes how it behaves; gives the new settings.
    ///
    /// # Errors
    /// [`SettingsError`] when a number is out of its range; nothing is changed then.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<Settings, SettingsError> {
        self.shared.change_settings(|mut settings| {
            change(&mut settings);
            settings.check()
        })
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// [`FaultError`] when it cannot be.
    pub fn fault(&self, fault: Fault) -> Result<(), FaultError> {
        self.shared.faults.add(fault)
    }

    /// Forgets all faults and lets hanging requests go on.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Adds a client or replaces the one of that id.
    ///
    /// # Errors
    /// [`ClientError`] when it cannot be.
    pub fn register(&self, client: Client) -> Result<(), ClientError> {
        self.shared.clients.register(client)
    }

    /// Makes grants without a browser.
    ///
    /// # Errors
    /// [`SeedError`] when they cannot be made.
    pub fn seed(&self, seed: &Seed) -> Result<Vec<SeededGrant>, SeedError> {
        seed::seed(&self.shared, seed)
    }

    /// The grants of one user, or of all: the latest first, at most [`limits::MAX_GRANT_LIST`].
    pub fn grants(&self, user: Option<&str>) -> Vec<GrantView> {
        lock(&self.shared.grants)
            .list(user, limits::MAX_GRANT_LIST)
            .0
    }

    /// The slugs of the providers whose dialects it speaks.
    pub fn dialects(&self) -> Vec<&str> {
        self.shared.dialects.slugs().collect()
    }

    /// How many grants of a dialect are alive.
    pub fn dialect_grants_alive(&self, slug: &str) -> usize {
        self.shared.dialects.alive(slug)
    }

    /// How many grants are alive.
    pub fn grants_alive(&self) -> u64 {
        lock(&self.shared.grants).alive()
    }

    /// Ends the grants of one user, or all, as users do in a provider's own settings; says how many.
    pub fn revoke_all(&self, user: Option<&str>) -> u64 {
        self.shared.revoke_all(user)
    }

    /// Kills the access tokens of one user, or all, before their time; says of how many grants.
    pub fn expire_access(&self, user: Option<&str>) -> usize {
        lock(&self.shared.grants).kill_access(user)
    }

    /// Stops listening, gives requests in flight [`limits::STOP_GRACE`] to end, cuts the rest.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        // An error says that the serving task panicked or was cancelled: it is over either way.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for SandboxHandle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
