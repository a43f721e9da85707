//! Checks of the store: it opens, its schema fits, it takes writes, and this key file opens what it holds.

use std::sync::Arc;

use latchkey_domain::{PartnerId, SystemEntropy};
use latchkey_runtime::{Sealer, context};
use latchkey_store::{KeyPurpose, Store, StoreConfig, StoreError};
use latchkey_telemetry::Metrics;
use latchkey_vault::KeyRing;

use crate::doctor::{
    Finding, Subject, chain,
    place::{self, EGRESS},
};

/// The name of the check whether keys and store belong together.
pub(super) const KEYS: &str = "keys";
const NOTHING_SEALED: &str = "nothing is sealed yet";
/// The name under which the simulated provider stands in the catalogue.
const SANDBOX: &str = "sandbox";

/// The findings about the store; one that a server uses is left to it.
pub(super) async fn findings(subject: &Subject, in_use: bool) -> Vec<Finding> {
    let path = subject.database();
    let shown = path.display();
    if !path.exists() {
        return vec![Finding::ok(
            "store",
            format!("{shown} is not there yet; the first start makes it"),
        )];
    }
    if in_use {
        return vec![Finding::ok(
            "store",
            format!("{shown} is in use; the check 'server' tells how it is"),
        )];
    }
    let store = match Store::open(StoreConfig::sqlite(&path, Arc::clone(&subject.clock))).await {
        Ok(store) => store,
        Err(error) => return vec![broken(error)],
    };
    let mut findings = vec![state(&store, &path.display().to_string()).await];
    if findings
        .iter()
        .all(|finding| finding.state == crate::doctor::State::Ok)
    {
        findings.push(keys(subject, &store).await);
        findings.extend(sandbox(subject, &store).await);
    }
    store.close().await;
    findings
}

async fn state(store: &Store, shown: &str) -> Finding {
    const CHECK: &str = "store";
    match store.is_migrated().await {
        Ok(true) => {}
        Ok(false) => {
            let found = format!("the schema of {shown} is not the one of this program");
            return Finding::warn(
                CHECK,
                found,
                "latchkey migrate, or start the server, which does the same",
            );
        }
        Err(error) => return broken(error),
    }
    match store.check_writable().await {
        Ok(()) => Finding::ok(
            CHECK,
            format!("{shown} opens, its schema is up to date, it takes writes"),
        ),
        Err(error) => broken(error),
    }
}

fn broken(error: StoreError) -> Finding {
    let fix = if error.is_full() {
        "free space on its volume"
    } else if error.is_read_only() {
        "give this user the right to write it, and look whether its volume is mounted read-only"
    } else {
        "put a backup of the store back, or start with another --data-dir"
    };
    Finding::fail("store", chain(error), fix)
}

/// Whether the key file belongs to this store.
async fn keys(subject: &Subject, store: &Store) -> Finding {
    const CHECK: &str = KEYS;
    let fix = "put the key file back that belongs to this store; see the check 'key-file'";
    if nothing_is_sealed(store).await {
        return Finding::ok(CHECK, NOTHING_SEALED);
    }
    let config = &subject.config;
    if config.key.is_none() && !context::key_file(config).exists() {
        return Finding::fail(
            CHECK,
            "the store holds sealed values and there is no key file",
            fix,
        );
    }
    match context::key_ring(config, &SystemEntropy) {
        Ok(ring) => opens(subject, store, ring, fix).await,
        Err(error) => Finding::fail(CHECK, chain(error), fix),
    }
}

/// Nothing was ever sealed there, so any keys fit.
async fn nothing_is_sealed(store: &Store) -> bool {
    let pepper = store.current_data_key(PartnerId::OPERATOR, KeyPurpose::Pepper);
    matches!(pepper.await, Ok(None))
}

/// Whether these keys open what the store holds.
pub(super) async fn opens(
    subject: &Subject,
    store: &Store,
    ring: KeyRing,
    fix: &'static str,
) -> Finding {
    // Asking the sealer would make the first key.
    if nothing_is_sealed(store).await {
        return Finding::ok(KEYS, NOTHING_SEALED);
    }
    let (clock, entropy) = (Arc::clone(&subject.clock), Arc::new(SystemEntropy));
    let sealer = Sealer::new(ring, store.clone(), clock, entropy, Metrics::new());
    match sealer.pepper().await {
        Ok(_) => Finding::ok(KEYS, "the key-encryption keys open what the store holds"),
        Err(error) => Finding::fail(KEYS, chain(error), fix),
    }
}

/// Whether the sandbox that an auth config points to can be reached.
async fn sandbox(subject: &Subject, store: &Store) -> Option<Finding> {
    let configs = store.list_auth_configs(PartnerId::OPERATOR).await.ok()?;
    let uses = configs.iter().any(|config| config.provider == SANDBOX);
    (uses && !place::reaches_loopback(subject)).then(|| {
        Finding::warn(
            EGRESS,
            "an auth config is for the sandbox, and requests to this machine are not allowed",
            "start with --sandbox, or set LATCHKEY_EGRESS_ALLOW=127.0.0.0/8",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use latchkey_runtime::{Context, DataDir, Stopper, context::key_file};

    use super::*;
    use crate::doctor::{State, tests::subject};

    /// Opens an installation once and lets it go.
    async fn installed(subject: &Subject, then: impl AsyncFnOnce(&Context)) {
        let _dir = DataDir::lock(&subject.config.data_dir).unwrap();
        let (clock, entropy) = (Arc::clone(&subject.clock), Arc::new(SystemEntropy));
        let context = Context::open(subject.config.clone(), clock, entropy, Stopper::new());
        let context = context.await.unwrap();
        then(&context).await;
        context.store.close().await;
    }

    async fn states(subject: &Subject) -> Vec<(&'static str, State)> {
        findings(subject, false)
            .await
            .iter()
            .map(|f| (f.check, f.state))
            .collect()
    }

    #[tokio::test]
    async fn a_whole_installation_is_right_and_a_foreign_key_file_is_not() {
        let (_temp, subject) = subject(&[]);
        assert_eq!(states(&subject).await, [("store", State::Ok)], "none yet");
        installed(&subject, async |_| ()).await;
        assert_eq!(
            states(&subject).await,
            [("store", State::Ok), ("keys", State::Ok)]
        );
        let key = key_file(&subject.config);
        fs::remove_file(&key).unwrap();
        assert_eq!(states(&subject).await[1], ("keys", State::Fail));
        assert!(!key.exists(), "the doctor made a key");
        KeyRing::create(&key, &SystemEntropy).unwrap();
        assert_eq!(states(&subject).await[1], ("keys", State::Fail));
    }

    #[tokio::test]
    async fn a_broken_or_old_store_is_told() {
        let (_temp, subject) = subject(&[]);
        fs::create_dir(&subject.config.data_dir).unwrap();
        fs::write(
            subject.database(),
            "this is no database, and long enough not to be taken for one",
        )
        .unwrap();
        assert_eq!(states(&subject).await, [("store", State::Fail)]);
        fs::remove_file(subject.database()).unwrap();
        let config = StoreConfig::sqlite(&subject.database(), Arc::clone(&subject.clock));
        Store::open(config).await.unwrap().close().await;
        assert_eq!(
            states(&subject).await,
            [("store", State::Warn)],
            "no schema yet"
        );
    }

    #[tokio::test]
    async fn an_auth_config_for_the_sandbox_needs_the_way_to_it() {
        let flags = [("egress_allow", "127.0.0.0/8")];
        for (flags, expected) in [(&flags[..0], Some(State::Warn)), (&flags[..], None)] {
            let (_temp, subject) = subject(flags);
            installed(&subject, async |context| {
                let body = serde_json::json!({
                    "provider": "sandbox", "client_id": "a", "params": { "base_url": "http://127.0.0.1:1" },
                });
                let routes = latchkey_api::operator_router(context.clone());
                let (token, post) = (&context.operator_token, axum::http::Method::POST);
                let made = crate::operator::here(&routes, token, post, "auth_configs", Some(body));
                assert_eq!(made.await.unwrap().0, 200);
            })
            .await;
            let states = states(&subject).await;
            let egress = states
                .iter()
                .find(|(check, _)| *check == EGRESS)
                .map(|(_, state)| *state);
            assert_eq!(egress, expected);
        }
    }
}
