//! Callbacks of asynchronous calls, taken by a receiver of the partner's and verified by the specification's
//! own library (`reliability.md` B18).

use std::path::PathBuf;

use futures::future::join_all;
use latchkey_tests::{
    Partner, Sandbox, Server, ServerOptions,
    process::finish,
    receiver::{Received, Receiver},
    until,
};
use serde_json::{Value, json};
use tokio::process::Command;

pub(crate) fn options() -> ServerOptions {
    ServerOptions::default()
        .with("CALLBACKS__EGRESS_ALLOW", "127.0.0.0/8")
        .with("SCHEDULER__REQUEUE_MS", 250)
}

async fn secret(partner: &Partner) -> String {
    let shown = partner.send("GET", "/partner/webhook_secret", None).await;
    shown.data()["secret"].as_str().unwrap().to_owned()
}

/// What the library of the specification says of each.
async fn verified(secret: &str, messages: &[Received]) -> Vec<String> {
    let peers = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"));
    let mut command = Command::new(peers.join("venv/bin/python"));
    command.arg(peers.join("verify_webhook.py"));
    let lines = messages.iter().map(|message| {
        let line = json!({ "secret": secret, "headers": message.headers, "body": message.body });
        format!("{line}\n")
    });
    let said = finish(command, &[], &lines.collect::<String>()).await;
    assert_eq!(said.code, 0, "{said:?}");
    said.stdout.lines().map(str::to_owned).collect()
}

pub(crate) fn call(url: &str, path: &str) -> Value {
    json!({ "account_id": "ext:user-1", "provider": "sandbox", "method": "GET", "path": path,
            "callback_url": url })
}

/// The callback as the job shows it, once it is final.
async fn callback(partner: &Partner, job: &str) -> Value {
    until("the end of a callback", || async {
        let seen = partner.send("GET", &format!("/jobs/{job}"), None).await;
        let callback = seen.data()["callback"].clone();
        (callback["status"] != "processing").then_some(callback)
    })
    .await
}

pub(crate) async fn accept(partner: &Partner, body: Value) -> String {
    let accepted = partner.send("POST", "/calls", Some(body)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    accepted.data()["job_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn outcomes_are_posted_signed_and_tried_again() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(options()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let before = secret(&partner).await;
    // A redirect is a failure: it is not followed, and the message comes again 5 s later.
    let moved = "302 Found\r\nlocation: http://127.0.0.1:9/elsewhere";
    let receiver = Receiver::start(&[moved]).await;
    let job = accept(&partner, call(&receiver.url, "/echo")).await;
    let twice = receiver.wait(2).await;
    assert_eq!(
        twice[0].headers["webhook-id"],
        twice[1].headers["webhook-id"]
    );
    assert_eq!(twice[0].body, twice[1].body);
    let said: Value = serde_json::from_str(&twice[0].body).unwrap();
    assert_eq!(said["type"], "call.completed", "{said}");
    assert_eq!(said["data"]["job_id"], job.as_str());
    assert_eq!(said["data"]["result"]["status"], 200, "{said}");
    assert_eq!(verified(&before, &twice).await, ["ok", "ok"]);
    let mut forged = twice[0].clone();
    forged.body = forged.body.replace("completed", "failed");
    assert_ne!(verified(&before, &[forged]).await, ["ok"]);
    let taken = callback(&partner, &job).await;
    assert_eq!(
        (&taken["status"], &taken["attempts"]),
        (&json!("completed"), &json!(2))
    );

    // A replaced secret signs beside the new one.
    let after = partner
        .send("POST", "/partner/webhook_secret", None)
        .await
        .data();
    let after = after["secret"].as_str().unwrap().to_owned();
    // A failure and a large answer are told too; what does not fit is left where it is kept.
    let failing = accept(&partner, call(&receiver.url, "/echo?status=404")).await;
    callback(&partner, &failing).await;
    let large = accept(&partner, call(&receiver.url, "/echo?raw=1&bytes=50000")).await;
    callback(&partner, &large).await;
    let all = receiver.wait(4).await;
    for secret in [&before, &after] {
        assert_eq!(verified(secret, &all[2..]).await, ["ok", "ok"]);
    }
    assert!(all.iter().all(|message| message.body.len() < 20_000));
    let large: Value = serde_json::from_str(&all[3].body).unwrap();
    assert_eq!(large["data"]["result"], Value::Null);
    assert_eq!(large["data"]["status"], "completed");
}

#[tokio::test]
async fn an_address_that_is_gone_or_private_is_left_alone() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(options()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let gone = Receiver::start(&["410 Gone"]).await;
    let job = accept(&partner, call(&gone.url, "/echo")).await;
    let ended = callback(&partner, &job).await;
    assert_eq!(
        (&ended["status"], &ended["attempts"]),
        (&json!("failed"), &json!(1))
    );
    let refused = partner
        .send("POST", "/calls", Some(call(&gone.url, "/echo")))
        .await;
    assert_eq!(refused.error(400), "INVALID_REQUEST");
    assert_eq!(gone.received().len(), 1);

    // Addresses of the operator's network, in every spelling: nothing connects.
    let ports = Receiver::start(&[]).await;
    let port = ports
        .url
        .split(':')
        .nth(2)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let closed = Server::start(ServerOptions::default()).await;
    closed.sandbox_config(&sandbox).await;
    let other = closed.partner("test").await;
    other.connected("user-1").await;
    let hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ];
    let tried = join_all(hosts.iter().map(|host| {
        let url = format!("https://{host}:{port}/hook");
        let other = &other;
        async move {
            let job = accept(other, call(&url, "/echo")).await;
            callback(other, &job).await
        }
    }));
    for (host, ended) in hosts.iter().zip(tried.await) {
        assert_eq!(ended["status"], "failed", "{host}: {ended}");
    }
    assert!(ports.received().is_empty());
}
