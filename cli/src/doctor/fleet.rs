//! Checks of what the processes of a fleet share: the database, its schema, the keys, Redis, and how far this
//! machine's clock is from the database's, by which leases and due times count.

use std::time::Duration;

use latchkey_domain::Timestamp;
use latchkey_runtime::{Config, Role, StartError, fleet};
use latchkey_store::{Schema, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::doctor::{Finding, Subject, chain, store};

/// How far this machine's clock may be from the database's unnoticed. Jobs and leases do not mind, they count by
/// the database's; what this machine writes into its log does, and so do certificates.
const SKEW: Duration = Duration::from_secs(2);

/// The findings about what all processes share.
pub(super) async fn findings(subject: &Subject) -> Vec<Finding> {
    let config = &subject.config;
    let mut findings = vec![roles(config)];
    match fleet::open_store(config, subject.clock.clone()).await {
        Ok(store) => {
            findings.extend(of_the_database(subject, &store).await);
            store.close().await;
        }
        Err(error) => findings.push(no_database(error)),
    }
    findings.push(redis(config).await);
    findings
}

/// Whether processes with single roles may join.
fn roles(config: &Config) -> Finding {
    const CHECK: &str = "roles";
    match fleet::check_roles(config, &[Role::Worker]) {
        Ok(()) => Finding::ok(CHECK, "a process may have any of them"),
        Err(error) => Finding::warn(
            CHECK,
            format!("only processes with all roles may join: {error}"),
            "set LATCHKEY_PUBLIC_URL to the origin that browsers see, the same for every process",
        ),
    }
}

fn no_database(error: StartError) -> Finding {
    let fix = match &error {
        StartError::Store(reason) if reason.is_read_only() => {
            "let DATABASE_URL name the primary, and look at default_transaction_read_only"
        }
        _ => "look whether it runs, and at the host, port, user and password in DATABASE_URL",
    };
    Finding::fail("database", chain(error), fix)
}

async fn of_the_database(subject: &Subject, store: &Store) -> Vec<Finding> {
    let (schema, is_served) = schema(&subject.config, store).await;
    let mut findings = vec![schema];
    if is_served {
        findings.insert(0, database(&subject.config, store).await);
        findings.push(keys(subject, store).await);
    }
    findings.push(clock_skew(subject, store).await);
    findings
}

/// Whether it takes writes; it has our tables.
async fn database(config: &Config, store: &Store) -> Finding {
    const CHECK: &str = "database";
    match store.check_writable().await {
        Ok(()) => Finding::ok(
            CHECK,
            format!("{} takes writes", place(config.database_url.as_ref())),
        ),
        Err(error) if error.is_full() => {
            Finding::fail(CHECK, chain(error), "free space on the database's volume")
        }
        Err(error) => no_database(StartError::Store(error)),
    }
}

/// The schema, and whether our tables are there.
async fn schema(config: &Config, store: &Store) -> (Finding, bool) {
    const CHECK: &str = "schema";
    match fleet::check_schema(store).await {
        Ok(Schema::Ahead { newer }) => {
            let found = format!("a newer version has migrated the database, up to {newer}");
            let finding = Finding::warn(CHECK, found, "upgrade this program soon");
            (finding, true)
        }
        Ok(Schema::Current | Schema::Behind { .. }) => {
            (Finding::ok(CHECK, "it is the one of this program"), true)
        }
        Err(error @ StartError::Behind { .. }) if config.migrate_on_start => {
            let fix = "nothing: LATCHKEY_MIGRATE_ON_START is set, so the next start migrates";
            (Finding::warn(CHECK, chain(error), fix), false)
        }
        Err(error @ StartError::Behind { .. }) => {
            let finding = Finding::fail(CHECK, chain(error), "latchkey migrate");
            (finding, false)
        }
        Err(error) => (Finding::fail(CHECK, chain(error), READS), false),
    }
}

const READS: &str = "give the user of DATABASE_URL the right to read and write its tables";

/// Whether the keys of the settings belong to this database.
async fn keys(subject: &Subject, store: &Store) -> Finding {
    match fleet::key_ring(&subject.config) {
        Ok(ring) => store::opens(subject, store, ring, KEYS).await,
        Err(error) => Finding::fail(store::KEYS, chain(error), KEYS),
    }
}

const KEYS: &str =
    "set LATCHKEY_KEY or LATCHKEY_KEY_FILE to the keys that the other processes have";

/// Redis: reached, new enough, and it throws nothing away.
async fn redis(config: &Config) -> Finding {
    const CHECK: &str = "redis";
    match fleet::open_redis(config).await {
        Ok((_, facts)) => Finding::ok(
            CHECK,
            format!(
                "{}: version {}, maxmemory-policy {}, namespace {}",
                place(config.redis_url.as_ref()),
                facts.version,
                facts.maxmemory_policy,
                config.redis_namespace
            ),
        ),
        Err(error) => Finding::fail(
            CHECK,
            chain(error),
            "mend what is named; the README's section 'The fleet' tells what it must be like",
        ),
    }
}

/// How far this machine's clock is from the database's.
async fn clock_skew(subject: &Subject, store: &Store) -> Finding {
    let before = subject.clock.now();
    let said = store.db_now().await;
    skew(before, said, subject.clock.now())
}

/// What a question says that was asked and answered at these times by this machine's clock.
fn skew(asked: Timestamp, said: Result<Timestamp, StoreError>, answered: Timestamp) -> Finding {
    const CHECK: &str = "clock-skew";
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            return Finding::fail(CHECK, chain(error), "see the check 'database'");
        }
    };
    // It was said somewhere between the question and the answer.
    let (ahead, behind) = (asked.since(said), said.since(answered));
    let (by, which) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let found = format!(
        "this machine's clock is {:.3} s {which} the database's",
        by.as_secs_f64()
    );
    if by <= SKEW {
        return Finding::ok(CHECK, found);
    }
    Finding::warn(
        CHECK,
        found,
        "keep both right (timedatectl set-ntp true); jobs and leases count by the database's meanwhile",
    )
}

/// An address without what is secret in it.
fn place(url: Option<&SecretString>) -> String {
    let url = url.and_then(|url| Url::parse(url.expose_secret()).ok());
    let Some(url) = url else {
        return "its address".into();
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn clocks_that_differ_are_told_whichever_is_ahead() {
        let minutes = Duration::from_secs(120);
        let slow = Duration::from_secs(5);
        for (asked, said, answered, state, words) in [
            (T0, T0, T0, State::Ok, "0.000 s"),
            // An answer that took long is no skew: it may have been said at any time in between.
            (T0, T0 + slow, T0 + slow, State::Ok, "0.000 s"),
            (T0 + SKEW, T0, T0 + slow, State::Ok, "2.000 s ahead"),
            (
                T0 + minutes,
                T0,
                T0 + minutes,
                State::Warn,
                "120.000 s ahead of",
            ),
            (T0, T0 + minutes, T0, State::Warn, "120.000 s behind"),
        ] {
            let finding = skew(asked, Ok(said), answered);
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let url = SecretString::from("postgres://latchkey:hunter2@db:5433/keys?sslmode=require");
        assert_eq!(place(Some(&url)), "postgres://db:5433/keys");
    }
}
