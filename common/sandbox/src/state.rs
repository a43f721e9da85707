//! What all routes share: the tables of the sandbox, its clock and its switches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use latchkey_domain::{Clock, Entropy, Timestamp};
use latchkey_providers::Catalog;
use tokio_util::sync::CancellationToken;

use crate::{
    clients::Clients,
    counters::{Counter, Counters},
    dialect::{DialectAsk, Dialects},
    events::{EventKind, Events, Happened},
    expiring::Expiring,
    faults::Faults,
    grants::{Consent, Grants},
    limits::{CODE_LIFETIME, CONSENT_LIFETIME, MAX_PENDING},
    messages::Messages,
    settings::{Settings, SettingsError},
    tokens::Minter,
};

/// A request for a grant that a user has not decided yet.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) state: Option<String>,
    /// The S256 challenge.
    pub(crate) challenge: Option<String>,
    pub(crate) login_hint: Option<String>,
    /// Of a catalogue entry's dialect: what its consent must know.
    pub(crate) dialect: Option<DialectAsk>,
}

/// An authorization code that was given.
pub(crate) struct Code {
    pub(crate) consent: Consent,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    /// The grant it was exchanged for.
    pub(crate) used_for: Option<u32>,
}

/// The sandbox's state, all of it in memory.
pub(crate) struct Shared {
    /// Origin under which it is reached, and its issuer name; no slash at the end.
    pub(crate) base_url: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) minter: Minter,
    settings: RwLock<Settings>,
    pub(crate) clients: Clients,
    pub(crate) grants: Mutex<Grants>,
    pub(crate) codes: Mutex<Expiring<String, Code>>,
    pub(crate) asks: Mutex<Expiring<String, Ask>>,
    pub(crate) messages: Mutex<Messages>,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    pub(crate) faults: Faults,
    pub(crate) dialects: Dialects,
    /// Cancelled when the sandbox stops.
    pub(crate) stop: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sandbox({})", self.base_url)
    }
}

impl Shared {
    pub(crate) fn new(
        base_url: String,
        settings: Settings,
        catalog: Option<Catalog>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            base_url,
            minter: Minter::new(&*entropy),
            clock,
            entropy,
            settings: RwLock::new(settings),
            clients: Clients::default(),
            grants: Mutex::default(),
            codes: Mutex::new(Expiring::new(CODE_LIFETIME, MAX_PENDING)),
            asks: Mutex::new(Expiring::new(CONSENT_LIFETIME, MAX_PENDING)),
            messages: Mutex::default(),
            counters: Counters::default(),
            events: Events::default(),
            faults: Faults::default(),
            dialects: Dialects::of(catalog),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings under one lock; gives the new ones.
    pub(crate) fn change_settings(
        &self,
        change: impl FnOnce(Settings) -> Result<Settings, SettingsError>,
    ) -> Result<Settings, SettingsError> {
        let mut settings = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *settings = change(*settings)?;
        Ok(*settings)
    }

    /// Ends all grants, or one user's, as a user does in the provider's own settings; says how many.
    pub(crate) fn revoke_all(&self, user: Option<&str>) -> u64 {
        let ended = lock(&self.grants).end_all(user);
        for grant in &ended {
            let happened = Happened {
                grant: Some(*grant),
                ..Happened::default()
            };
            self.note(EventKind::Revoke, happened);
        }
        let count = ended.len() as u64;
        self.counters.add(Counter::Revocations, count);
        count
    }

    pub(crate) fn note(&self, kind: EventKind, what: Happened) {
        self.events.push(self.now(), kind, what);
    }
}

/// Locks a table. A handler that panicked in between leaves it usable: no section is left half done.
pub(crate) fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for some milliseconds of a setting.
pub(crate) async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    }
}
