//! Refreshes among processes: one at a time, whoever asks, and however long a process stands still.

use futures::future::join_all;
use latchkey_tests::{Fleet, Sandbox, Server, ServerOptions, until};
use rustix::process::Signal;
use serde_json::json;

use crate::{count, crash_matrix::catalog};

/// Fifty callers meet one dead token through two APIs and four workers: one refresh, no reuse, one new token
/// for all (`reliability.md` A6).
#[tokio::test]
async fn fifty_callers_on_four_workers_share_one_refresh() {
    let sandbox = Sandbox::start(&["token_latency_ms=50"]).await;
    let fleet = Fleet::start().await;
    let process = async |role| Server::join(&fleet, ServerOptions::default().role(role)).await;
    let (api, other) = (process("api").await, process("api").await);
    let _workers = join_all((0..4).map(|_| process("worker"))).await;
    api.sandbox_config(&sandbox).await;
    let partner = api.partner("test").await;
    partner.connected("user-1").await;
    let mut elsewhere = partner.clone();
    elsewhere.origin.clone_from(&other.url);
    for round in 1..=count(5, 200) as u64 {
        sandbox.expire_access().await;
        let calls = (0..50).map(|n| {
            let asked = if n % 2 == 0 { &partner } else { &elsewhere };
            asked.call("GET", "/sandbox/profile", "user-1", &[], None)
        });
        for answer in join_all(calls).await {
            assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        }
        let counters = sandbox.counters().await;
        assert_eq!(counters["token_refresh"], round, "{counters}");
        assert_eq!(counters["refresh_reuse"], 0, "{counters}");
        assert_eq!(counters["refresh_overlap"], 0, "{counters}");
    }
}

/// A worker stopped with its answer on the way, past its lease, and continued: what it holds lands, for nobody
/// presented meanwhile (`reliability.md` A7).
#[tokio::test]
async fn a_worker_stopped_past_its_lease_brings_its_answer_home() {
    let sandbox = Sandbox::start(&["token_latency_ms=300"]).await;
    let fleet = Fleet::start().await;
    let quick = || ServerOptions::default().quick();
    let api = Server::join(&fleet, quick().role("api")).await;
    let _scheduler = Server::join(&fleet, quick().role("scheduler")).await;
    let worker = Server::join(&fleet, quick().role("worker")).await;
    api.sandbox_config(&sandbox).await;
    let partner = api.partner("test").await;
    let names: Vec<_> = (0..10).map(|n| format!("user-{n}")).collect();
    let accounts = join_all(names.iter().map(|name| partner.connected(name))).await;
    for account in &accounts {
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        partner.send("POST", &path, None).await.data();
    }
    sandbox.wait("token_refresh", 1).await;
    worker.process.signal(Signal::STOP);
    // The provider answers all that were sent, to nobody.
    let second = Server::join(&fleet, quick().role("worker")).await;
    // Two workers now: the doubt is shown, and nobody presents.
    until("doubt to be shown", || async {
        let seen = join_all(accounts.iter().map(|account| partner.integration(account))).await;
        let well = |seen: &serde_json::Value| seen["last_refreshed_at"] != json!(null);
        let shown = |seen: &serde_json::Value| seen["reason"] == "in_doubt";
        (seen.iter().all(|s| well(s) || shown(s)) && seen.iter().any(shown)).then_some(())
    })
    .await;
    worker.process.signal(Signal::CONT);
    for (account, name) in accounts.iter().zip(&names) {
        until("the late answer to land", || async {
            let seen = partner.integration(account).await;
            (seen["last_refreshed_at"] != json!(null)).then_some(())
        })
        .await;
        let answer = partner
            .call("GET", "/sandbox/profile", name, &[], None)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_reuse"], 0, "{counters}");
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
    drop(second);
}

/// A worker stopped with its answers on the way, for longer than the patience: another worker moves the grants on
/// within the provider's grace, and what the first one holds changes nothing any more (`reliability.md` A7).
#[tokio::test]
async fn a_worker_stopped_past_the_patience_changes_nothing() {
    let catalog = catalog("mode = \"single_use\"\ngrace_s = 60");
    let sandbox = Sandbox::start(&["token_latency_ms=500", "grace_s=60"]).await;
    let fleet = Fleet::start().await;
    let join = async |role| {
        let options = ServerOptions::default()
            .quick()
            .with("CATALOG_DIR", catalog.path().display())
            .with("REFRESH__PATIENCE_SWEEPS", 4);
        Server::join(&fleet, options.role(role)).await
    };
    let (api, _scheduler) = (join("api").await, join("scheduler").await);
    let worker = join("worker").await;
    api.sandbox_config(&sandbox).await;
    let partner = api.partner("test").await;
    let names: Vec<_> = (0..10).map(|n| format!("user-{n}")).collect();
    join_all(names.iter().map(|name| partner.connected(name))).await;
    for name in &names {
        let path = format!("/accounts/ext:{name}/integrations/sandbox/refresh");
        partner.send("POST", &path, None).await.data();
    }
    sandbox.wait("token_refresh", 10).await;
    worker.process.signal(Signal::STOP);
    let _second = join("worker").await;
    let called = async |name: &String| {
        until("an answer of the provider", || async {
            let asked = partner.call("GET", "/sandbox/profile", name, &[], None);
            let answer = asked.await;
            assert_ne!(answer.status, 409, "{}", answer.text());
            (answer.status == 200).then_some(())
        })
        .await;
    };
    sandbox.expire_access().await;
    join_all(names.iter().map(called)).await;
    worker.process.signal(Signal::CONT);
    until("every attempt to have ended", || async {
        let ended = worker.metric("latchkey_refresh_total", &[]).await;
        (ended >= 10.0).then_some(())
    })
    .await;
    // The tokens in the store are those that the provider knows.
    sandbox.expire_access().await;
    join_all(names.iter().map(called)).await;
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_reuse"], 0, "{counters}");
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
}
