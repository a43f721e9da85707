//! `kill -9` at the worst moments: nothing accepted is lost, nothing is done twice, every grant ends `active`
//! or `needs_reauth` with the reason (`reliability.md` A8, A10, A11).

use futures::future::join_all;
use latchkey_tests::{Answer, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::{Value, json};

use crate::count;

/// Waits until a grant is in one of the two states it may end in; its integration.
async fn settled(partner: &Partner, account: &str) -> Value {
    until("a settled grant", || async {
        let seen = partner.integration(account).await;
        let active = seen["status"] == "active" && seen["reason"] != "in_doubt";
        (active || seen["status"] == "needs_reauth").then_some(seen)
    })
    .await
}

/// Calls until the answer is final: data, or that the grant is dead. Meanwhile doubt may have to settle.
async fn called(partner: &Partner, account: &str) -> Answer {
    until("a final answer", || async {
        let answer = partner
            .call("GET", "/sandbox/profile", account, &[], None)
            .await;
        matches!(answer.status, 200 | 409).then_some(answer)
    })
    .await
}

/// Killed in the middle of refreshes: no token is presented twice while it may be answered, and each grant
/// works again or says that its answer was lost.
#[tokio::test]
async fn killed_amid_refreshes_every_grant_works_or_says_why_not() {
    let sandbox = Sandbox::start(&["token_latency_ms=500"]).await;
    let mut server = Server::start(ServerOptions::default().quick()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let names: Vec<_> = (0..20).map(|n| format!("user-{n}")).collect();
    let accounts = join_all(names.iter().map(|name| partner.connected(name))).await;
    for account in &accounts {
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        partner.send("POST", &path, None).await.data();
    }
    // The provider has acted on some and answered none.
    sandbox.wait("token_refresh", 5).await;
    server.crash_and_restart().await;
    sandbox.set(json!({ "token_latency_ms": 0 })).await;
    sandbox.expire_access().await;
    let mut lost = 0;
    for (account, name) in accounts.iter().zip(&names) {
        // A call finds the token dead, and so presents again or says what is the matter.
        let answer = called(&partner, name).await;
        let integration = settled(&partner, account).await;
        if answer.status == 409 {
            assert_eq!(
                integration["reason"], "rotation_outcome_unknown",
                "{integration}"
            );
            lost += 1;
        } else {
            assert_eq!(integration["status"], "active", "{integration}");
        }
    }
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
    assert!(lost > 0, "the kill struck no refresh: {counters}");
}

/// Each crash point of the refresh protocol, once: killed there, started again, the grant is `active` wherever
/// the answer reached the journal or nothing was sent, and honest where it was lost.
#[tokio::test]
async fn every_crash_point_of_a_refresh_ends_well() {
    for (point, survives) in [
        ("before_send", true),
        ("after_send", false),
        ("after_answer", false),
        ("before_commit", true),
        ("after_commit", true),
    ] {
        // Rotating without grace: the strictest provider.
        let sandbox = Sandbox::start(&["token_latency_ms=300"]).await;
        let options = ServerOptions::default().quick();
        let mut server = Server::start(options).await;
        server.sandbox_config(&sandbox).await;
        let partner = server.partner("test").await;
        let account = partner.connected("user-1").await;
        server.stop().await;
        server
            .restart_with(&[("FAILPOINTS", &format!("refresh::{point}=1*return"))])
            .await;
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        // The server dies under this request or soon after it.
        drop(
            server
                .http
                .try_send("POST", &partner.url(&path), &partner.auth(), None)
                .await,
        );
        server.process.ended().await;
        server.restart_with(&[]).await;
        sandbox.expire_access().await;
        let answer = called(&partner, "user-1").await;
        let integration = settled(&partner, &account).await;
        let counters = sandbox.counters().await;
        assert_eq!(counters["refresh_overlap"], 0, "{point}: {counters}");
        if survives {
            assert_eq!(
                answer.status,
                200,
                "{point}: {} {integration}",
                answer.text()
            );
            assert_eq!(counters["refresh_reuse"], 0, "{point}: {counters}");
        } else {
            assert_eq!(
                integration["status"], "needs_reauth",
                "{point}: {integration}"
            );
            assert_eq!(integration["reason"], "rotation_outcome_unknown", "{point}");
        }
    }
}

/// Thousands of asynchronous calls accepted, the server killed: after the restart all are final, and no
/// message was written twice.
#[tokio::test]
async fn accepted_calls_survive_a_kill() {
    let calls = count(2_000, 20_000);
    let sandbox = Sandbox::start(&[]).await;
    let options = ServerOptions::default()
        .quick()
        .with("CALLS__BACKLOG_MAX", 100_000);
    let mut server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let numbers: Vec<_> = (0..calls).collect();
    let mut jobs = Vec::with_capacity(calls);
    for batch in numbers.chunks(100) {
        let accepted = join_all(batch.iter().map(|n| {
            let body = json!({ "text": format!("message {n}") });
            partner.call(
                "POST",
                "/sandbox/messages",
                "user-1",
                &[("prefer", "respond-async")],
                Some(body),
            )
        }));
        for answer in accepted.await {
            assert_eq!(answer.status, 202, "{}", answer.text());
            jobs.push(answer.data()["job_id"].as_str().unwrap().to_owned());
        }
    }
    server.crash_and_restart().await;
    until("all jobs final, within 60 s", || async {
        let open = partner
            .send("GET", "/jobs?status=processing&limit=1", None)
            .await
            .data();
        (open["total"] == 0).then_some(())
    })
    .await;
    let completed = partner
        .send("GET", "/jobs?status=completed&limit=1", None)
        .await
        .data();
    let failed = partner
        .send("GET", "/jobs?status=failed&limit=100", None)
        .await
        .data();
    let (completed, failed_count) = (
        completed["total"].as_u64().unwrap(),
        failed["total"].as_u64().unwrap(),
    );
    assert_eq!(completed + failed_count, jobs.len() as u64);
    // Those under way at the kill have an unknown outcome; none was sent again.
    for job in failed["jobs"].as_array().unwrap() {
        assert_eq!(
            job["error"]["code"].as_str().or(job["error_code"].as_str()),
            Some("OUTCOME_UNKNOWN"),
            "{job}"
        );
    }
    let writes = sandbox.count("api_writes").await;
    assert!(
        completed <= writes && writes <= jobs.len() as u64,
        "{completed} <= {writes} <= {}",
        jobs.len()
    );
    // The ledger has one receipt for each.
    let receipts = partner.send("GET", "/calls?limit=1", None).await.data();
    assert_eq!(
        receipts["total"].as_u64().unwrap_or(jobs.len() as u64),
        jobs.len() as u64
    );
}
