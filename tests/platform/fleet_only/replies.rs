//! Answers between processes: to the one that waits, whichever worker has them.

use futures::future::join_all;
use latchkey_tests::{Fleet, Sandbox, Server, ServerOptions, until};
use serde_json::json;

/// Two APIs wait at once, and each gets its own answers. One dies while it waits: the other's answers come, and
/// the dead one's calls have their receipts, each once.
#[tokio::test]
async fn two_apis_wait_and_one_of_them_dies() {
    let sandbox = Sandbox::start(&[]).await;
    let fleet = Fleet::start().await;
    let process = async |role| Server::join(&fleet, ServerOptions::default().role(role)).await;
    let (mut doomed, other) = (process("api").await, process("api").await);
    let _worker = process("worker").await;
    doomed.sandbox_config(&sandbox).await;
    let partner = doomed.partner("test").await;
    let mut elsewhere = partner.clone();
    elsewhere.origin.clone_from(&other.url);
    let users: Vec<String> = (0..10).map(|n| format!("user-{n}")).collect();
    join_all(users.iter().map(|user| partner.connected(user))).await;
    let profile = "/sandbox/profile";
    for asked in [&partner, &elsewhere] {
        let calls = users
            .iter()
            .map(|user| asked.call("GET", profile, user, &[], None));
        for (answer, user) in join_all(calls).await.iter().zip(&users) {
            assert_eq!(answer.data()["sub"], user.as_str());
        }
    }
    sandbox.set(json!({ "api_latency_ms": 2000 })).await;
    let before = sandbox.count("api_calls").await;
    let lost = tokio::spawn({
        let (partner, http, user) = (partner.clone(), doomed.http.clone(), users[0].clone());
        async move {
            let mut headers = partner.auth();
            headers.push(("x-account-id", user));
            let url = partner.url(profile);
            http.try_send("GET", &url, &headers, None).await.is_err()
        }
    });
    let answered = elsewhere.call("GET", profile, &users[1], &[], None);
    let killed = async {
        sandbox.wait("api_calls", before + 2).await;
        doomed.process.kill().await;
    };
    let (answer, ()) = futures::join!(answered, killed);
    assert_eq!(answer.data()["sub"], users[1].as_str());
    assert!(lost.await.unwrap(), "its caller sees the connection end");
    until("a receipt of each call", || async {
        let receipts = "SELECT COUNT(*) FROM calls WHERE outcome = 'answered' AND billed = 1";
        (fleet.database().number(receipts).await == 22).then_some(())
    })
    .await;
    assert_eq!(sandbox.count("api_calls").await, before + 2);
}
