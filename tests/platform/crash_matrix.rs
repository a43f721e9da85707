//! `kill -9` at each point of a refresh, for providers of each kind, with one process that carries many grants
//! (`reliability.md` A8). The seed says which of the refreshes that reach the point dies there; it is in every
//! message, and `LATCHKEY_TEST_FULL=1` runs 200.

use std::fs;

use futures::future::join_all;
use latchkey_tests::{Partner, Sandbox, Server, ServerOptions, until};
use tempfile::TempDir;

use crate::count;

const POINTS: [&str; 5] = [
    "before_send",
    "after_send",
    "after_answer",
    "before_commit",
    "after_commit",
];
/// Grants of the one process.
const GRANTS: u64 = 10;

/// A provider as its catalogue entry and the sandbox's settings say it.
struct Kind {
    rotation: &'static str,
    sandbox: &'static [&'static str],
    /// Whether an answer that is lost for good costs the grant.
    can_lose: bool,
}

/// A catalogue whose sandbox says this of its refresh tokens.
pub(crate) fn catalog(rotation: &str) -> TempDir {
    let catalog = tempfile::tempdir().unwrap();
    let entry = include_str!("../../common/providers/catalog/sandbox.toml");
    let entry = entry.replace("mode = \"single_use\"", rotation);
    fs::write(catalog.path().join("sandbox.toml"), entry).unwrap();
    catalog
}

/// Kills at every point, for each seed, and holds what must hold.
async fn matrix(kind: Kind) {
    let catalog = catalog(kind.rotation);
    // Long enough under way for the point in the middle.
    let mut settings = vec!["token_latency_ms=150"];
    settings.extend(kind.sandbox);
    let sandbox = Sandbox::start(&settings).await;
    let options = ServerOptions::default()
        .quick()
        .with("CATALOG_DIR", catalog.path().display());
    let mut server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let names: Vec<_> = (0..GRANTS).map(|n| format!("user-{n}")).collect();
    let accounts = join_all(names.iter().map(|name| partner.connected(name))).await;
    let mut lost = 0;
    for seed in 0..count(1, 200) as u64 {
        for (point, salt) in POINTS.into_iter().zip(1..) {
            let which = format!("seed {seed}, {point}");
            server.stop().await;
            let spared = (seed * 7 + salt * 3) % GRANTS;
            let points = format!("refresh::{point}={spared}*off->1*return");
            server.restart_with(&[("FAILPOINTS", &points)]).await;
            // Calls find what was not refreshed dead, and so its doubt is ended at once.
            sandbox.expire_access().await;
            join_all(
                accounts
                    .iter()
                    .map(|account| asked(&server, &partner, account)),
            )
            .await;
            server.process.ended().await;
            server.restart_with(&[]).await;
            let ends = accounts.iter().zip(&names);
            let ends = ends.map(|(account, name)| ended(&partner, account, name, &which));
            let dead = join_all(ends)
                .await
                .into_iter()
                .filter(|dead| *dead)
                .count() as u64;
            assert!(kind.can_lose || dead == 0, "{which}: {dead} dead");
            lost += dead;
            let counters = sandbox.counters().await;
            assert_eq!(counters["refresh_overlap"], 0, "{which}: {counters}");
            // Only a generation whose answer was lost for good is presented after it was spent.
            assert!(
                counters["refresh_reuse"].as_u64().unwrap() <= lost,
                "{which}: {counters}"
            );
        }
    }
    assert!(lost > 0 || !kind.can_lose, "no kill struck a refresh");
}

/// Asks for a refresh; the server may die under the request.
async fn asked(server: &Server, partner: &Partner, account: &str) {
    let path = partner.url(&format!("/accounts/{account}/integrations/sandbox/refresh"));
    let key = partner.auth();
    drop(server.http.try_send("POST", &path, &key, None).await);
}

/// Calls until the grant serves or says that it is dead; a dead one says why, and is connected again.
async fn ended(partner: &Partner, account: &str, name: &str, which: &str) -> bool {
    let answer = until(&format!("a final answer ({which})"), || async {
        let answer = partner
            .call("GET", "/sandbox/profile", name, &[], None)
            .await;
        matches!(answer.status, 200 | 409).then_some(answer)
    })
    .await;
    let seen = partner.integration(account).await;
    if answer.status == 200 {
        assert_eq!(seen["status"], "active", "{which}: {seen}");
        return false;
    }
    assert_eq!(seen["status"], "needs_reauth", "{which}: {seen}");
    assert_eq!(seen["reason"], "rotation_outcome_unknown", "{which}");
    partner.connect(account, name).await;
    true
}

#[tokio::test]
async fn killed_at_every_point_with_a_provider_that_rotates() {
    matrix(Kind {
        rotation: "mode = \"single_use\"",
        sandbox: &[],
        can_lose: true,
    })
    .await;
}

#[tokio::test]
async fn killed_at_every_point_with_a_grace() {
    matrix(Kind {
        rotation: "mode = \"single_use\"\ngrace_s = 60",
        sandbox: &["grace_s=60"],
        can_lose: false,
    })
    .await;
}

#[tokio::test]
async fn killed_at_every_point_with_a_provider_that_does_not_rotate() {
    matrix(Kind {
        rotation: "mode = \"none\"",
        sandbox: &["rotation=none"],
        can_lose: false,
    })
    .await;
}
