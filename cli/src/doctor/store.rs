//! Checks of the store: it opens, its schema fits, it takes writes, and this key file opens what it holds.

use std::sync::Arc;

use latchkey_domain::{PartnerId, SystemEntropy};
use latchkey_runtime::{Sealer, context};
use latchkey_store::{KeyPurpose, Store, StoreConfig, StoreError};
use latchkey_telemetry::Metrics;

use crate::doctor::{
    Finding, Subject, chain,
    place::{self, EGRESS},
    running::Server,
};

/// The name under which the simulated provider stands in the catalogue.
const SANDBOX: &str = "sandbox";

/// The findings about the store.
pub(super) async fn findings(subject: &Subject, server: &Server) -> Vec<Finding> {
    let path = subject.database();
    let shown = path.display();
    if !path.exists() {
        return vec![Finding::ok(
            "store",
            format!("{shown} is not there yet; the first start makes it"),
        )];
    }
    if server.is_some() {
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
            let found = format!("the schema of {shown} is older than this program");
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
    const CHECK: &str = "keys";
    let fix = "put the key file back that belongs to this store; see the check 'key-file'";
    let pepper = store
        .current_data_key(PartnerId::OPERATOR, KeyPurpose::Pepper)
        .await;
    if matches!(pepper, Ok(None)) {
        return Finding::ok(CHECK, "nothing is sealed yet");
    }
    let config = &subject.config;
    if config.key.is_none() && !context::key_file(config).exists() {
        return Finding::fail(
            CHECK,
            "the store holds sealed values and there is no key file",
            fix,
        );
    }
    let ring = match context::key_ring(config, &SystemEntropy) {
        Ok(ring) => ring,
        Err(error) => return Finding::fail(CHECK, chain(error), fix),
    };
    let (clock, entropy) = (Arc::clone(&subject.clock), Arc::new(SystemEntropy));
    let sealer = Sealer::new(ring, store.clone(), clock, entropy, Metrics::new());
    match sealer.pepper().await {
        Ok(_) => Finding::ok(CHECK, "the key file opens what the store holds"),
        Err(error) => Finding::fail(CHECK, chain(error), fix),
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
