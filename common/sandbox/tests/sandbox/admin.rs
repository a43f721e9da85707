//! The admin routes: what tests in other processes steer and see.

use latchkey_sandbox::{Counter, Seed};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Peer;

#[tokio::test]
async fn counters_are_read_waited_for_and_reset() {
    let peer = Peer::new().await;
    let (_, token) = peer.seeded();
    let wait = "/sandbox/wait?counter=token_refresh&at_least=1&timeout_ms=20000";
    let (waited, _) = tokio::join!(peer.get(wait), peer.send(peer.refresh(&token)));
    assert_eq!(
        waited.json(),
        json!({"counter": "token_refresh", "value": 1, "reached": true})
    );
    let over = "/sandbox/wait?counter=api_401&at_least=1&timeout_ms=1";
    assert_eq!(peer.get(over).await.json()["reached"], false);
    assert_eq!(
        peer.get("/sandbox/wait?counter=none&at_least=1")
            .await
            .status,
        400
    );

    let all = peer.get("/sandbox/counters").await.json();
    let expected = json!({
        "authorize_requests": 0, "consents": 0, "denials": 0, "token_requests": 1,
        "token_exchange": 0, "token_refresh": 1, "refresh_grace": 0, "token_refused": 0,
        "refresh_reuse": 0, "refresh_overlap": 0, "revocations": 0, "api_calls": 0,
        "api_writes": 0, "api_401": 0, "faults_hit": 0, "abandoned": 0, "grants_made": 1, "grants_alive": 1,
    });
    assert_eq!(all, expected);
    assert_eq!(
        peer.json(Method::POST, "/sandbox/counters/reset", &Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(
        peer.get("/sandbox/counters").await.json()["token_refresh"],
        0
    );
    assert_eq!(peer.sandbox.counters()[&Counter::TokenRequests], 0);
}

#[tokio::test]
async fn settings_change_field_by_field() {
    let peer = Peer::new().await;
    let put = async |body: Value| peer.json(Method::PUT, "/sandbox/settings", &body).await;
    assert_eq!(put(json!({"access_lifetime_s": 5})).await.status, 200);
    let both = put(json!({"rotation": "none", "grace_s": 1.5}))
        .await
        .json();
    assert_eq!(
        (&both["access_lifetime_s"], &both["rotation"]),
        (&json!(5.0), &json!("none"))
    );
    assert_eq!(peer.get("/sandbox/settings").await.json(), both);
    let wrong = put(json!({"access_lifetime_s": 0})).await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.json()["error"]
            .as_str()
            .unwrap()
            .contains("access_lifetime_s")
    );
    let unknown = put(json!({"speed": 1})).await;
    assert!(
        unknown.json()["error"]
            .as_str()
            .unwrap()
            .contains("unknown field `speed`")
    );
    assert_eq!(
        peer.get("/sandbox/settings").await.json(),
        both,
        "nothing of these was taken"
    );
}

#[tokio::test]
async fn faults_are_added_listed_and_cleared() {
    let peer = Peer::new().await;
    let post = async |body: Value| peer.json(Method::POST, "/sandbox/faults", &body).await;
    let simple = json!({"target": "api", "kind": "drop_after_acting"});
    assert_eq!(post(simple).await.status, 201);
    let full = json!({
        "target": "refresh", "kind": {"rate_limit": {"retry_after_s": 3}},
        "count": 2, "probability": 0.5, "seed": 9, "after_acting": false
    });
    assert_eq!(post(full.clone()).await.json(), full);
    assert_eq!(peer.get("/sandbox/faults").await.json()["faults"][1], full);
    for wrong in [
        json!({"target": "api", "kind": "explode"}),
        json!({"target": "api", "kind": "hang", "often": 2}),
        json!({"target": "api", "kind": {"fail": {"status": 500, "text": "x"}}}),
    ] {
        assert_eq!(post(wrong).await.status, 422);
    }
    assert_eq!(
        post(json!({"target": "api", "kind": {"fail": {"status": 200}}}))
            .await
            .status,
        400
    );
    let cleared = peer
        .send(peer.request(Method::DELETE, "/sandbox/faults"))
        .await;
    assert_eq!(cleared.status, 200);
    assert_eq!(
        peer.get("/sandbox/faults").await.json(),
        json!({"faults": []})
    );
}

#[tokio::test]
async fn clients_are_registered_and_listed() {
    let peer = Peer::new().await;
    let post = async |body: Value| peer.json(Method::POST, "/sandbox/clients", &body).await;
    let client = json!({"client_id": "app", "client_secret": "s", "redirect_uris": ["https://a.example/cb"]});
    let made = post(client).await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["loopback_redirects"]),
        (201, &json!(false))
    );
    let wrong = json!({"client_id": "app", "client_secret": "s", "redirect_uris": ["/cb"]});
    assert_eq!(post(wrong).await.status, 400);
    let all = peer.get("/sandbox/clients").await.json();
    let ids: Vec<_> = all["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["client_id"])
        .collect();
    assert_eq!(ids, ["app", "sandbox-client"]);
}

#[tokio::test]
async fn grants_are_seeded_listed_and_ended() {
    let peer = Peer::new().await;
    let post = async |path: &str, body: Value| peer.json(Method::POST, path, &body).await;
    let seed = json!({"count": 3, "access_lifetime_s": 7, "user_prefix": "u", "scope": "profile"});
    let made = post("/sandbox/grants/seed", seed).await.json();
    let grants = made["grants"].as_array().unwrap();
    assert_eq!((grants.len(), &grants[2]["user"]), (3, &json!("u-2")));
    assert_eq!(
        (&grants[0]["expires_in"], &grants[0]["expires_at"]),
        (&json!(7), &json!("2027-01-15T08:00:07.000Z"))
    );
    let me = async |grant: &Value| {
        let access = grant["access_token"].as_str().unwrap();
        peer.send(peer.api(Method::GET, "/api/me", access))
            .await
            .status
    };
    assert_eq!(me(&grants[1]).await, 200);
    assert_eq!(
        post("/sandbox/grants/expire-access?user=u-1", json!({}))
            .await
            .json(),
        json!({"expired": 1})
    );
    assert_eq!(
        (me(&grants[1]).await, me(&grants[2]).await),
        (401.try_into().unwrap(), 200.try_into().unwrap())
    );
    let refresh = peer.refresh(grants[1]["refresh_token"].as_str().unwrap());
    let fresh = peer.send(refresh).await.json();
    assert_eq!(me(&fresh).await, 200);

    let listed = peer.get("/sandbox/grants?user=u-1").await;
    assert!(!listed.text().contains("sbx_"), "no tokens here");
    let expected = json!({"grants": [{
        "grant": 1, "client_id": "sandbox-client", "user": "u-1", "scope": "profile", "alive": true,
        "generation": 2, "issued_at": "2027-01-15T08:00:00.000Z",
        "access_expires_at": "2027-01-15T09:00:00.000Z",
    }], "total": 1});
    assert_eq!(listed.json(), expected);
    assert_eq!(
        post("/sandbox/grants/revoke-all?user=u-0", json!({}))
            .await
            .json(),
        json!({"revoked": 1})
    );
    assert_eq!(
        post("/sandbox/grants/revoke-all", json!({})).await.json(),
        json!({"revoked": 2})
    );
    assert_eq!(
        (
            peer.count(Counter::Revocations),
            peer.sandbox.grants_alive()
        ),
        (3, 0)
    );
    for wrong in [
        json!({"count": 100_001}),
        json!({"count": 1, "client_id": "nobody"}),
        json!({"count": 1, "scope": ""}),
        json!({"count": 1, "access_lifetime_s": 0}),
    ] {
        assert_eq!(post("/sandbox/grants/seed", wrong).await.status, 400);
    }
}

#[tokio::test]
async fn ten_thousand_seeds_come_at_once() {
    let peer = Peer::new().await;
    let made = peer.sandbox.seed(&Seed::new(10_000)).unwrap();
    assert_eq!((made.len(), peer.sandbox.grants_alive()), (10_000, 10_000));
    assert_eq!(
        format!("{:?}", made[7]),
        "SeededGrant(7 of seed-7)",
        "no token is printed"
    );
    let last = made[9_999].refresh_token.as_deref().unwrap();
    assert_eq!(peer.send(peer.refresh(last)).await.status, 200);
}

#[tokio::test]
async fn events_tell_the_order_of_things() {
    let peer = Peer::new().await;
    let code = peer.code().await;
    let tokens = peer.send(peer.exchange(&code)).await.json();
    let first = tokens["refresh_token"].as_str().unwrap();
    peer.send(peer.refresh(first)).await;
    peer.send(peer.refresh(first)).await;
    let all = peer.get("/sandbox/events").await.json();
    let kinds: Vec<_> = all["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["kind"])
        .collect();
    assert_eq!(
        kinds,
        [
            "authorize",
            "consent",
            "exchange",
            "refresh",
            "reuse",
            "refused"
        ]
    );
    let refresh = json!({
        "seq": 4, "at": "2027-01-15T08:00:00.000Z", "kind": "refresh", "grant": 0, "generation": 2,
        "user": "ada"
    });
    assert_eq!(all["events"][3], refresh);
    assert_eq!((&all["next"], &all["missed"]), (&json!(6), &json!(false)));
    let rest = peer.get("/sandbox/events?since=5").await;
    assert_eq!(
        rest.json()["events"][0]["detail"],
        "invalid_grant: the refresh token was used before"
    );
    for secret in [code.as_str(), first] {
        assert!(!peer.get("/sandbox/events").await.text().contains(secret));
    }
}
