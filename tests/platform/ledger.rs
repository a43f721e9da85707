//! The ledger under fire: whatever dies, every reply has one receipt, what is recorded is billed, and bills are
//! sums of receipts (`reliability.md` A10, A11, B17).

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, future::join_all, stream};
use latchkey_tests::{Http, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::{Value, json};

use crate::count;

/// All receipts of a partner, page by page.
async fn receipts(partner: &Partner) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/calls?limit=100{cursor}");
        let page = partner.send("GET", &path, None).await.data();
        all.extend(page["calls"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// One call, begun anew as often as the server dies under it: the receipt that its answer names, if it brought
/// one.
async fn ask(http: &Http, partner: &Partner, n: usize) -> Option<String> {
    until("an answer", || async {
        let (method, body) = if n.is_multiple_of(2) {
            ("GET", None)
        } else {
            (
                "POST",
                Some(format!(r#"{{"text":"message {n}"}}"#).into_bytes()),
            )
        };
        let mut headers = partner.auth();
        headers.push(("x-account-id", "user-1".to_owned()));
        headers.push(("content-type", "application/json".to_owned()));
        let url = partner.url("/sandbox/messages");
        let answer = http.try_send(method, &url, &headers, body).await.ok()?;
        let id = answer.header("x-call-id");
        Some((answer.status < 300).then_some(id))
    })
    .await
}

/// Calls under `kill -9`: each answer has exactly one receipt, what is billed is what was recorded, roll-ups
/// rebuilt three times are the same bytes, and the statement is their sum.
#[tokio::test]
async fn every_answer_has_one_receipt_whatever_is_killed() {
    let calls = count(2_000, 20_000);
    let sandbox = Sandbox::start(&[]).await;
    let mut server = Server::start(ServerOptions::default().quick()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let asking = {
        let (partner, http) = (partner.clone(), server.http.clone());
        tokio::spawn(async move {
            let answers = stream::iter(0..calls).map(|n| ask(&http, &partner, n));
            answers.buffer_unordered(32).collect::<Vec<_>>().await
        })
    };
    for part in 1..=4 {
        let seen = u64::try_from(calls * part / 5).unwrap();
        sandbox.wait("api_calls", seen).await;
        server.crash_and_restart().await;
    }
    let answers = asking.await.unwrap();
    let answered: Vec<String> = answers.into_iter().flatten().collect();
    let all = receipts(&partner).await;
    let mut by_id: BTreeMap<&str, &Value> = BTreeMap::new();
    for receipt in &all {
        let before = by_id.insert(receipt["id"].as_str().unwrap(), receipt);
        assert!(before.is_none(), "a receipt twice: {receipt}");
    }
    let distinct: BTreeSet<&String> = answered.iter().collect();
    assert_eq!(
        distinct.len(),
        answered.len(),
        "one receipt for two answers"
    );
    for id in &answered {
        let receipt = by_id[id.as_str()];
        assert_eq!(receipt["outcome"], "answered", "{receipt}");
        assert_eq!(receipt["billed"], true, "{receipt}");
    }
    // No request that acts went out without a receipt, and none twice.
    let acts = |receipt: &&Value| receipt["method"] == "POST" && receipt["outcome"] != "not_sent";
    let writes = sandbox.count("api_writes").await;
    let recorded = all.iter().filter(acts).count() as u64;
    assert!(writes <= recorded, "{writes} writes, {recorded} receipts");
    assert!(
        answered.len() >= calls * 9 / 10,
        "{} of {calls}",
        answered.len()
    );

    bills_are_sums(&server, &partner).await;
}

/// What is recorded is billed; rebuilt three times it is the same; the statement is the sum.
async fn bills_are_sums(server: &Server, partner: &Partner) {
    // What a dead worker held runs again seconds later, and its receipts come then: what is asked here is asked of a
    // ledger that stands still meanwhile.
    let (all, exports) = until("a ledger that stands still", || async {
        let before = receipts(partner).await;
        let mut exports = BTreeSet::new();
        for _ in 0..3 {
            let rebuilt = server.command(&["usage", "rebuild"], "").await;
            assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
            assert!(rebuilt.json()["hours"].as_u64().unwrap() > 0, "{rebuilt:?}");
            let export = server.command(&["usage", "export"], "").await;
            assert_eq!(export.code, 0, "{export:?}");
            exports.insert(export.stdout);
        }
        (receipts(partner).await == before).then_some((before, exports))
    })
    .await;
    let billed = all.iter().filter(|r| r["billed"] == true).count() as u64;
    let recorded = |r: &&Value| r["outcome"] == "answered" || r["outcome"] == "unknown";
    assert_eq!(billed, all.iter().filter(recorded).count() as u64);
    assert_eq!(exports.len(), 1, "{exports:?}");
    let lines = exports.first().unwrap().lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sum: u64 = lines
        .iter()
        .map(|line| line["billed"].as_u64().unwrap())
        .sum();
    let statement = partner.send("GET", "/usage/statement", None).await.data();
    assert_eq!((sum, &statement["used"]), (billed, &json!(billed)));
    for line in statement["lines"].as_array().unwrap() {
        let url = line["calls_url"].as_str().unwrap();
        let listed = partner
            .send("GET", &url["/api/v1".len()..], None)
            .await
            .data();
        let first = &listed["calls"][0];
        assert_eq!(first["service"], line["service"], "{url}");
    }
}

/// The provider acts and its answer is lost: recorded as unknown, counted, and never sent again.
#[tokio::test]
async fn a_lost_answer_is_not_asked_for_twice() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let post = async |prefer: &[(&'static str, &str)], text: &str| {
        sandbox.fault("api", json!("drop_after_acting"), 1).await;
        let body = Some(json!({ "text": text }));
        partner
            .call("POST", "/sandbox/messages", "user-1", prefer, body)
            .await
    };
    assert_eq!(post(&[], "waiting").await.error(504), "OUTCOME_UNKNOWN");
    let accepted = post(&[("prefer", "respond-async")], "later").await.data();
    let ended = partner.job(accepted["job_id"].as_str().unwrap()).await;
    assert_eq!(ended["error_code"], "OUTCOME_UNKNOWN", "{ended}");
    assert_eq!(sandbox.count("api_writes").await, 2);
    for receipt in receipts(&partner).await {
        assert_eq!(receipt["outcome"], "unknown", "{receipt}");
        assert_eq!(receipt["billed"], true, "{receipt}");
    }
}

/// A plan without overage ends at its quota to the call, however many ask at once; a larger plan helps at once;
/// test keys are never billed.
#[tokio::test]
async fn a_quota_is_kept_to_the_call() {
    let sandbox = Sandbox::start(&[]).await;
    let options = ServerOptions::default()
        .with("PLANS__TINY__CALLS_PER_MINUTE", 1_000_000)
        .with("PLANS__TINY__INCLUDED_CALLS_PER_MONTH", 25);
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("tiny").await;
    partner.connected("user-1").await;
    let before = sandbox.count("api_calls").await;
    let call = || partner.call("GET", "/sandbox/profile", "user-1", &[], None);
    let answers = join_all((0..60).map(|_| call())).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!((made.len(), refused.len()), (25, 35));
    for answer in refused {
        assert_eq!(answer.error(429), "QUOTA_EXCEEDED");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    assert_eq!(sandbox.count("api_calls").await, before + 25);
    // A test key goes on, and counts nowhere.
    let made = partner
        .send("POST", "/partner/keys", Some(json!({ "mode": "test" })))
        .await;
    let mut test = partner.clone();
    test.key = made.data()["key"].as_str().unwrap().to_owned();
    let tested = test
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(tested.status, 200, "{}", tested.text());
    let statement = partner.send("GET", "/usage/statement", None).await.data();
    assert_eq!(statement["used"], 25, "{statement}");
    assert_eq!(call().await.error(429), "QUOTA_EXCEEDED");
    // Another plan.
    let url = format!("{}/operator/partners/{}", server.admin, partner.id);
    let token = [("authorization", format!("Bearer {}", server.operator_token))];
    let plan = json!({ "plan": "test" });
    let changed = server.http.json("PATCH", &url, &token, &plan).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(call().await.status, 200);
}

/// A hundred POSTs with one Idempotency-Key at once: one effect, one receipt, one answer.
#[tokio::test]
async fn one_idempotency_key_makes_one_call() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let post = || async {
        until("an answer", || async {
            let key = [("idempotency-key", "the-same")];
            let body = Some(json!({ "text": "once" }));
            let path = "/sandbox/messages";
            let answer = partner.call("POST", path, "user-1", &key, body).await;
            if answer.status == 409 {
                assert_eq!(answer.error(409), "IDEMPOTENCY_IN_FLIGHT");
                return None;
            }
            Some(answer.data().to_string())
        })
        .await
    };
    let answers: BTreeSet<String> = join_all((0..100).map(|_| post()))
        .await
        .into_iter()
        .collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(sandbox.count("api_writes").await, 1);
    assert_eq!(receipts(&partner).await.len(), 1);
}
