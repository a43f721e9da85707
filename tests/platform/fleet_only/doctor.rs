//! `latchkey doctor` on the fleet: what a start refuses, it tells, one line each, and it changes nothing.

use std::collections::BTreeMap;

use latchkey_servers::PrivateRedis;
use latchkey_tests::{Fleet, Server, ServerOptions, process::Said, run};
use serde_json::Value;

type Variables = Vec<(String, String)>;

async fn doctor(variables: &Variables) -> Said {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let arguments = ["doctor", "--json", "--data-dir", &data];
    let mut variables = variables.clone();
    let listen = [
        ("LATCHKEY_LISTEN", "127.0.0.1:0"),
        ("LATCHKEY_ADMIN_LISTEN", "127.0.0.1:0"),
    ];
    variables.extend(listen.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let said = run(&arguments, &variables, "").await;
    assert!(!said.stdout.contains("hunter2"), "a password is shown");
    assert_eq!(
        directory.path().read_dir().unwrap().count(),
        0,
        "it made something"
    );
    said
}

/// What the doctor says of each check, and whether it goes well.
fn findings(said: &Said) -> BTreeMap<String, (String, String)> {
    let of = |line: &str| {
        let finding: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let words = format!("{} → {}", text("found"), text("fix"));
        (text("check"), (text("state"), words))
    };
    said.stdout.lines().map(of).collect()
}

/// With this setting, this check fails with all of these words, and so does the command.
async fn fails(fleet: &Variables, setting: (&str, &str), check: &str, words: &[&str]) {
    let mut variables = fleet.clone();
    variables.retain(|(name, _)| name != setting.0);
    if !setting.1.is_empty() {
        variables.push((setting.0.to_owned(), setting.1.to_owned()));
    }
    let said = doctor(&variables).await;
    assert_eq!(said.code, 1, "{said:?}");
    let findings = findings(&said);
    let (state, found) = &findings[check];
    assert_eq!(state, "fail", "{check}: {findings:?}");
    for word in words {
        assert!(found.contains(word), "no '{word}' in {found}");
    }
}

#[tokio::test]
async fn a_whole_fleet_is_right_line_by_line() {
    let fleet = Fleet::start().await;
    let options = || ServerOptions::default().role("all");
    let mut server = Server::join(&fleet, options()).await;
    let said = doctor(&fleet.variables_of(&["api"])).await;
    assert_eq!(said.code, 0, "{said:?}");
    let findings = findings(&said);
    for check in [
        "database",
        "schema",
        "keys",
        "key-file",
        "redis",
        "clock-skew",
        "roles",
    ] {
        assert_eq!(findings[check].0, "ok", "{check}: {findings:?}");
    }
    assert!(findings["redis"].1.contains("noeviction"));
    // Without a public origin only whole processes may join, which is a warning.
    let alone = doctor(&fleet.variables()).await;
    assert_eq!(alone.code, 0, "{alone:?}");
    assert_eq!(self::findings(&alone)["roles"].0, "warn");
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test]
async fn what_a_start_refuses_is_told_by_the_name_of_its_check() {
    let fleet = Fleet::start().await;
    let mut variables = fleet.variables();
    variables.retain(|(name, _)| name != "LATCHKEY_MIGRATE_ON_START");

    let behind = ["0001_partners", "latchkey migrate"];
    fails(&variables, ("NONE", ""), "schema", &behind).await;
    let migrated = run(&["migrate"], &variables, "").await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let untouched = findings(&doctor(&variables).await);
    assert_eq!(untouched["keys"].0, "ok", "{untouched:?}");
    assert!(
        untouched["keys"].1.contains("nothing is sealed"),
        "{untouched:?}"
    );
    let mut server = Server::join(&fleet, ServerOptions::default()).await;
    assert_eq!(server.stop().await, Some(0));

    let contradiction = &["database_url", "belong together"];
    fails(&variables, ("REDIS_URL", ""), "settings", contradiction).await;
    let away = (
        "DATABASE_URL",
        "postgres://latchkey:hunter2@127.0.0.1:1/latchkey",
    );
    fails(
        &variables,
        away,
        "database",
        &["postgres://127.0.0.1:1/latchkey", "DATABASE_URL"],
    )
    .await;
    let away = ("REDIS_URL", "redis://:hunter2@127.0.0.1:1");
    fails(&variables, away, "redis", &["cannot be reached"]).await;
    let evicting = PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let evicting = evicting.await.unwrap();
    let evicting = ("REDIS_URL", &*evicting.url());
    fails(
        &variables,
        evicting,
        "redis",
        &["allkeys-lru", "noeviction"],
    )
    .await;
    fails(
        &variables,
        ("LATCHKEY_KEY", ""),
        "key-file",
        &["no key", "LATCHKEY_KEY"],
    )
    .await;
    fails(&variables, ("LATCHKEY_KEY", ""), "keys", &["no key"]).await;
    fails(
        &variables,
        ("LATCHKEY_KEY", "nonsense"),
        "key-file",
        &["LATCHKEY_KEY"],
    )
    .await;
    let other = (
        "LATCHKEY_KEY",
        "k1 ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
    );
    fails(&variables, other, "keys", &["LATCHKEY_KEY_FILE"]).await;

    let database = fleet.database();
    let read_only = "SET default_transaction_read_only";
    let alter = format!("ALTER DATABASE {} {read_only} = on", database.name());
    database.execute(&alter).await;
    fails(
        &variables,
        ("NONE", ""),
        "database",
        &["read-only", "primary"],
    )
    .await;
}
