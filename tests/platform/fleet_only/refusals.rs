//! Starts that cannot work are refused at once, by name, and show no password.

use latchkey_servers::PrivateRedis;
use latchkey_tests::{Fleet, Server, ServerOptions, process::Said, run};

type Variables = Vec<(String, String)>;

/// These settings with some replaced, or left out where the value is empty.
fn with(mut variables: Variables, others: &[(&str, &str)]) -> Variables {
    variables.retain(|(name, _)| !others.iter().any(|(other, _)| other == name));
    let others = others.iter().filter(|(_, value)| !value.is_empty());
    variables.extend(others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

async fn serve(variables: &Variables, more: &[&str]) -> Said {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().display().to_string();
    let mut arguments = vec!["serve", "--data-dir", &directory];
    arguments.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    arguments.extend(more);
    run(&arguments, variables, "").await
}

/// The start is refused with this exit code and all of these words.
async fn refused(variables: Variables, more: &[&str], code: i32, words: &[&str]) {
    let said = serve(&variables, more).await;
    assert_eq!(said.code, code, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "no '{word}' in {}", said.stderr);
    }
    assert!(
        !said.stderr.contains("hunter2"),
        "a password is shown: {}",
        said.stderr
    );
    assert_eq!(said.stdout, "", "nothing was served");
}

#[tokio::test]
async fn contradicting_and_missing_settings() {
    let fleet = Fleet::start().await.variables();
    let but = |others: &[(&str, &str)]| with(fleet.clone(), others);
    let both = &["database_url", "belong together"][..];
    refused(but(&[("REDIS_URL", "")]), &[], 2, both).await;
    refused(but(&[("DATABASE_URL", "")]), &[], 2, both).await;
    let broken = ("DATABASE_URL", "postgres://latchkey:hunter2@[::1/latchkey");
    refused(but(&[broken]), &[], 2, &["database_url", "postgres://"]).await;
    let broken = ("REDIS_URL", "http://:hunter2@127.0.0.1");
    refused(but(&[broken]), &[], 2, &["redis_url", "redis://"]).await;
    refused(
        but(&[("LATCHKEY_KEY", "")]),
        &[],
        1,
        &["no key", "LATCHKEY_KEY"],
    )
    .await;
    let slots = ("LATCHKEY_WORKER__BACKGROUND", "1");
    refused(but(&[slots]), &[], 2, &["worker.background", "at least 2"]).await;
    let lease = ("LATCHKEY_WORKER__JOB_LEASE_MS", "999");
    refused(but(&[lease]), &[], 2, &["worker.job_lease_ms"]).await;
    let lease = ("LATCHKEY_REFRESH__LEASE_MS", "30000");
    refused(
        but(&[lease]),
        &[],
        2,
        &["refresh.timeout_ms", "refresh.lease_ms"],
    )
    .await;
    let alone = &["--role", "worker"];
    refused(but(&[]), alone, 2, &["public_url"]).await;
    let embedded = but(&[("DATABASE_URL", ""), ("REDIS_URL", "")]);
    refused(embedded, alone, 2, &["--role", "embedded"]).await;
}

#[tokio::test]
async fn a_database_that_is_away_behind_or_read_only_and_keys_of_another() {
    let fleet = Fleet::start().await;
    let unasked = with(fleet.variables(), &[("LATCHKEY_MIGRATE_ON_START", "")]);
    let away = (
        "DATABASE_URL",
        "postgres://latchkey:hunter2@127.0.0.1:1/latchkey",
    );
    let away = with(unasked.clone(), &[away]);
    refused(away, &[], 1, &["postgres://127.0.0.1:1/latchkey"]).await;
    refused(
        unasked.clone(),
        &[],
        1,
        &["0001_partners", "latchkey migrate"],
    )
    .await;
    let migrated = run(&["migrate", "--json"], &unasked, "").await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    assert_eq!(migrated.json()["changed"], true);
    let again = run(&["migrate", "--json"], &unasked, "").await;
    assert_eq!(again.json()["changed"], false);

    let unasked_server = ServerOptions::default().with("MIGRATE_ON_START", false);
    let mut server = Server::join(&fleet, unasked_server).await;
    assert_eq!(server.stop().await, Some(0));
    let other = "k1 ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    let other = with(unasked.clone(), &[("LATCHKEY_KEY", other)]);
    refused(other, &[], 1, &["belong to another store"]).await;

    let database = fleet.database();
    let read_only = "SET default_transaction_read_only";
    let alter = format!("ALTER DATABASE {} {read_only} = on", database.name());
    database.execute(&alter).await;
    refused(unasked, &[], 1, &["read-only", "DATABASE_URL"]).await;
}

#[tokio::test]
async fn a_redis_that_is_away_or_evicts() {
    let fleet = Fleet::start().await;
    let away = ("REDIS_URL", "redis://:hunter2@127.0.0.1:1");
    refused(
        with(fleet.variables(), &[away]),
        &[],
        1,
        &["REDIS_URL", "cannot be reached"],
    )
    .await;
    let evicting = PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let evicting = evicting.await.unwrap();
    let evicting = with(fleet.variables(), &[("REDIS_URL", &evicting.url())]);
    refused(evicting, &[], 1, &["allkeys-lru", "noeviction"]).await;
}
