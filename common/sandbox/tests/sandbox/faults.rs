//! What each fault does to a client.

use std::time::Duration;

use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{Answer, Peer};

fn refresh(kind: FaultKind) -> Fault {
    Fault::new(Target::Refresh, kind)
}

/// One refresh through the fault, and whether the provider acted on it.
async fn through(fault: Fault) -> (Result<Answer, reqwest::Error>, bool) {
    let peer = Peer::new().await;
    peer.fault(fault);
    let (_, token) = peer.seeded();
    let answer = peer.try_send(peer.refresh(&token)).await;
    assert_eq!(peer.count(Counter::FaultsHit), 1);
    (answer, peer.count(Counter::TokenRefresh) == 1)
}

#[tokio::test]
async fn a_cut_connection_shows_no_status_line() {
    for (kind, acts) in [
        (FaultKind::DropBefore, false),
        (FaultKind::DropAfterActing, true),
    ] {
        let (answer, acted) = through(refresh(kind.clone())).await;
        let error = answer.unwrap_err();
        assert!(
            error.is_request() && !error.is_timeout(),
            "{kind:?}: {error:?}"
        );
        assert_eq!(acted, acts, "{kind:?}");
    }
}

#[tokio::test]
async fn a_cut_connection_gives_not_one_byte() {
    let peer = Peer::new().await;
    let (_, token) = peer.seeded();
    peer.fault(refresh(FaultKind::DropAfterActing));
    let address = peer.sandbox.base_url().strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let body = format!(
        "grant_type=refresh_token&client_id=sandbox-client&client_secret=sandbox-secret&refresh_token={token}"
    );
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let mut received = Vec::new();
    // The end of the stream or a reset: both are a cut.
    let _ = socket.read_to_end(&mut received).await;
    assert!(
        received.is_empty(),
        "{}",
        String::from_utf8_lossy(&received)
    );
    assert_eq!(peer.count(Counter::TokenRefresh), 1);
    assert_eq!(peer.sandbox.grants(None)[0].generation, 2);
}

#[tokio::test]
async fn an_answer_can_be_cut_in_its_middle() {
    let peer = Peer::new().await;
    peer.fault(refresh(FaultKind::DropMidAnswer));
    let (_, token) = peer.seeded();
    let address = peer.sandbox.base_url().strip_prefix("http://").unwrap();
    let error = peer.try_send(peer.refresh(&token)).await.unwrap_err();
    assert!(
        !error.is_timeout() && !error.is_request(),
        "the head came: {error:?} of {address}"
    );
    assert_eq!(peer.count(Counter::TokenRefresh), 1);
}

#[tokio::test]
async fn statuses_and_bodies_as_told() {
    let plain = FaultKind::Fail {
        status: 503,
        body: None,
    };
    let (answer, acted) = through(refresh(plain.clone())).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (503, &json!("server_error"))
    );
    assert!(!acted);
    let (answer, acted) = through(refresh(plain).after_acting()).await;
    assert!(acted && answer.unwrap().status == 503);
    let own = FaultKind::Fail {
        status: 403,
        body: Some("{\"why\":1}".into()),
    };
    let (answer, _) = through(refresh(own)).await;
    assert_eq!(answer.unwrap().json(), json!({"why": 1}));
    let (answer, _) = through(refresh(FaultKind::RateLimit { retry_after_s: 7 })).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, "7")
    );
}

#[tokio::test]
async fn answers_that_are_not_what_they_say() {
    let (html, _) = through(refresh(FaultKind::Html)).await;
    let html = html.unwrap();
    assert_eq!(html.status, 200);
    assert!(html.header("content-type").starts_with("text/html"));
    let (garbage, _) = through(refresh(FaultKind::Garbage)).await;
    let garbage = garbage.unwrap();
    assert_eq!(garbage.header("content-type"), "application/json");
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage.body).is_err());
    let code = || "invalid_client".to_owned();
    let (inside, _) = through(refresh(FaultKind::ErrorIn200 { code: code() })).await;
    let inside = inside.unwrap();
    assert_eq!(
        (inside.status.as_u16(), &inside.json()["error"]),
        (200, &json!("invalid_client"))
    );
    let (refused, _) = through(refresh(FaultKind::OauthError { code: code() })).await;
    assert_eq!(refused.unwrap().status, 401);
    let bytes = 10 * 1024 * 1024;
    let (big, _) = through(refresh(FaultKind::Big { bytes })).await;
    let big = big.unwrap();
    assert_eq!((big.status.as_u16(), big.body.len()), (200, bytes));
}

#[tokio::test]
async fn a_hang_ends_when_faults_are_cleared() {
    for after in [false, true] {
        let peer = Peer::new().await;
        let fault = refresh(FaultKind::Hang);
        peer.fault(if after { fault.after_acting() } else { fault });
        let (_, token) = peer.seeded();
        let steer = async {
            peer.reach(Counter::FaultsHit, 1).await;
            if after {
                peer.reach(Counter::TokenRefresh, 1).await;
            }
            assert_eq!(peer.count(Counter::TokenRefresh), u64::from(after));
            peer.sandbox.clear_faults();
        };
        let (answer, ()) = tokio::join!(peer.send(peer.refresh(&token)), steer);
        assert_eq!(
            (answer.status.as_u16(), peer.count(Counter::TokenRefresh)),
            (200, 1)
        );
    }
}

#[tokio::test]
async fn a_hang_outlasts_the_client() {
    let peer = Peer::new().await;
    peer.fault(refresh(FaultKind::Hang));
    let (_, token) = peer.seeded();
    let hasty = peer.refresh(&token).timeout(Duration::from_millis(50));
    assert!(peer.try_send(hasty).await.unwrap_err().is_timeout());
    peer.reach(Counter::Abandoned, 1).await;
    peer.sandbox.clear_faults();
    assert_eq!(
        peer.send(peer.refresh(&token)).await.status,
        200,
        "nothing was done before"
    );
}

#[tokio::test]
async fn targets_are_told_apart() {
    let peer = Peer::new().await;
    let fail = |target| {
        let status = 500;
        Fault::new(target, FaultKind::Fail { status, body: None })
    };
    let (access, token) = peer.seeded();
    peer.fault(fail(Target::Exchange));
    assert_eq!(peer.send(peer.refresh(&token)).await.status, 200);
    assert_eq!(peer.send(peer.exchange("x")).await.status, 500);
    peer.fault(fail(Target::Token).times(2));
    assert_eq!(peer.send(peer.exchange("x")).await.status, 500);
    assert_eq!(peer.send(peer.refresh("x")).await.status, 500);
    assert_eq!(peer.send(peer.refresh("x")).await.status, 400);
    peer.fault(fail(Target::Revoke));
    let revoke = peer.client_form("/oauth/revoke", &[("token", &access)]);
    assert_eq!(peer.send(revoke).await.status, 500);
    peer.fault(fail(Target::Api));
    let me = || peer.api(Method::GET, "/api/me", &access);
    assert_eq!(peer.send(me()).await.status, 500);
    assert_eq!(peer.send(me()).await.status, 200);
}

#[tokio::test]
async fn a_dropped_write_was_written() {
    let peer = Peer::new().await;
    let (access, _) = peer.seeded();
    peer.fault(Fault::new(Target::Api, FaultKind::DropAfterActing));
    let write = peer
        .api(Method::POST, "/api/messages", &access)
        .header("content-type", "application/json")
        .body(r#"{"text":"once"}"#);
    assert!(peer.try_send(write).await.is_err());
    assert_eq!(peer.count(Counter::ApiWrites), 1);
}
