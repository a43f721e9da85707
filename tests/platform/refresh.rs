//! Tokens are fresh before anyone needs them, and never burnt (`architecture.md` §6).

use std::time::Duration;

use futures::future::join_all;
use latchkey_tests::{Sandbox, Server, ServerOptions};
use serde_json::json;

use crate::count;

/// Twenty callers on one dead rotating token: one refresh, no reuse, twenty answers.
#[tokio::test]
async fn callers_of_a_dead_token_share_one_refresh() {
    let sandbox = Sandbox::start(&["token_latency_ms=200"]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    for round in 1..=3 {
        sandbox.expire_access().await;
        let calls = (0..20).map(|_| partner.call("GET", "/sandbox/profile", "user-1", &[], None));
        for answer in join_all(calls).await {
            assert_eq!(answer.data()["sub"], "user-1");
        }
        let counters = sandbox.counters().await;
        assert_eq!(counters["token_refresh"], round, "{counters}");
        assert_eq!(counters["refresh_reuse"], 0, "{counters}");
    }
}

/// Tokens of five seconds are refreshed ahead for as long as one watches: no miss, no reuse, at most three
/// refreshes per lifetime.
#[tokio::test]
async fn short_tokens_stay_fresh() {
    let (grants, watched) = (count(100, 500), Duration::from_secs(count(15, 60) as u64));
    let sandbox = Sandbox::start(&["access_lifetime_s=5"]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let names: Vec<_> = (0..grants).map(|n| format!("user-{n}")).collect();
    for batch in names.chunks(20) {
        join_all(batch.iter().map(|name| partner.connected(name))).await;
    }
    let lifetimes = watched.as_secs() / 5 * grants as u64;
    let before = sandbox.count("token_refresh").await;
    // Watched for as long as it says: the claim is about time.
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..=watched.as_secs() {
        second.tick().await;
    }
    let refreshes = sandbox.count("token_refresh").await - before;
    assert!(
        (lifetimes..=3 * lifetimes).contains(&refreshes),
        "{refreshes} refreshes in {lifetimes} lifetimes"
    );
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_reuse"], 0, "{counters}");
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
    let missed = server
        .metric("latchkey_refresh_missed_total", &["sandbox"])
        .await;
    assert!(missed.abs() < f64::EPSILON, "{missed} misses");
    let calls = join_all(
        names
            .iter()
            .map(|name| partner.call("GET", "/sandbox/profile", name, &[], None)),
    );
    for answer in calls.await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(
        sandbox.count("api_401").await,
        0,
        "no call met a dead token"
    );
}

/// One error of the token endpoint while the access token lives fails no call; the grant heals.
#[tokio::test]
async fn an_error_of_the_token_endpoint_fails_no_call_while_the_token_lives() {
    let sandbox = Sandbox::start(&["access_lifetime_s=20", "rotation=none"]).await;
    let server = Server::start(ServerOptions::default().quick()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    sandbox
        .fault("refresh", json!({ "fail": { "status": 500 } }), 1)
        .await;
    let asked = partner
        .send(
            "POST",
            &format!("/accounts/{account}/integrations/sandbox/refresh"),
            None,
        )
        .await;
    assert!(asked.status < 300, "{}", asked.text());
    sandbox.wait("faults_hit", 1).await;
    for _ in 0..5 {
        partner
            .call("GET", "/sandbox/profile", "user-1", &[], None)
            .await
            .data();
    }
    assert_eq!(partner.integration(&account).await["status"], "active");
    // The catalogue says that it rotates, so it is presented again when the token is about to end.
    sandbox.wait("token_refresh", 1).await;
}

/// A grant that the provider ended is `needs_reauth` with the reason; calls say what to do; connecting again
/// keeps the integration's id.
#[tokio::test]
async fn a_dead_grant_says_so_and_is_healed_by_connecting_again() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    let before = partner.integration(&account).await;
    sandbox.revoke_all().await;
    let refused = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(refused.error(409), "NEEDS_REAUTH");
    let dead = partner.integration(&account).await;
    assert_eq!(
        (&dead["status"], &dead["reason"]),
        (&json!("needs_reauth"), &json!("invalid_grant"))
    );
    partner.connect(&account, "user-1").await;
    let healed = partner.integration(&account).await;
    assert_eq!(
        (&healed["status"], &healed["id"]),
        (&json!("active"), &before["id"])
    );
    partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await
        .data();
}
