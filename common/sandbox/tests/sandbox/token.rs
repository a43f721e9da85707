//! The token and revocation endpoints.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use latchkey_sandbox::{Client, Counter, EventKind, Fault, FaultKind, Rotation, Settings, Target};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, CALLBACK, Peer, VERIFIER};

fn text<'a>(tokens: &'a Value, field: &str) -> &'a str {
    tokens[field].as_str().unwrap()
}

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let shown = (answer.status.as_u16(), answer.json()["error"].clone());
    assert_eq!(shown, (status, json!(code)), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn works(peer: &Peer, access: &str) -> bool {
    peer.send(peer.api(Method::GET, "/api/me", access))
        .await
        .status
        == 200
}

#[tokio::test]
async fn a_code_becomes_a_grant_once() {
    let peer = Peer::new().await;
    let code = peer.code().await;
    let answer = peer.send(peer.exchange(&code)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    assert_eq!(tokens["scope"], "profile messages.read messages.write");
    assert!(works(&peer, text(&tokens, "access_token")).await);

    assert_refused(&peer.send(peer.exchange(&code)).await, 400, "invalid_grant");
    assert!(
        !works(&peer, text(&tokens, "access_token")).await,
        "the second use revokes"
    );
    let refresh = peer.refresh(text(&tokens, "refresh_token"));
    assert_refused(&peer.send(refresh).await, 400, "invalid_grant");
    assert_eq!(peer.sandbox.grants_alive(), 0);
    let counts = [
        Counter::TokenRequests,
        Counter::TokenExchange,
        Counter::TokenRefused,
    ];
    assert_eq!(counts.map(|c| peer.count(c)), [3, 1, 2]);
}

#[tokio::test]
async fn an_exchange_must_fit_its_authorization() {
    let peer = Peer::new().await;
    let code = peer.code().await;
    let other = Client {
        client_id: "other".into(),
        client_secret: "o".into(),
        ..Client::default_client()
    };
    peer.sandbox.register(other).unwrap();
    let base = [("grant_type", "authorization_code"), ("code", &*code)];
    let ask = async |fields: &[(&str, &str)]| {
        peer.send(peer.client_form("/oauth/token", &[&base, fields].concat()))
            .await
    };
    let uri = ("redirect_uri", CALLBACK);
    assert_refused(&ask(&[uri]).await, 400, "invalid_request");
    let verifier = ("code_verifier", VERIFIER);
    assert_refused(&ask(&[verifier]).await, 400, "invalid_request");
    let moved = ("redirect_uri", "http://127.0.0.1:9/callback");
    assert_refused(&ask(&[moved, verifier]).await, 400, "invalid_grant");
    let wrong = "x".repeat(43);
    assert_refused(
        &ask(&[uri, ("code_verifier", &wrong)]).await,
        400,
        "invalid_grant",
    );
    let stolen = [
        ("client_id", "other"),
        ("client_secret", "o"),
        uri,
        verifier,
    ];
    let stolen = peer.form("/oauth/token", &[&base[..], &stolen].concat());
    assert_refused(&peer.send(stolen).await, 400, "invalid_grant");
    assert_refused(
        &peer.send(peer.exchange("guess")).await,
        400,
        "invalid_grant",
    );
    assert_eq!(
        peer.send(peer.exchange(&code)).await.status,
        200,
        "none of these used it"
    );

    let late = peer.code().await;
    peer.clock.advance(Duration::from_secs(600));
    assert_refused(&peer.send(peer.exchange(&late)).await, 400, "invalid_grant");
}

#[tokio::test]
async fn clients_authenticate_in_one_way() {
    let peer = Peer::new().await;
    let odd = Client {
        client_id: "my:id".into(),
        client_secret: "a+b% c".into(),
        ..Client::default_client()
    };
    peer.sandbox.register(odd).unwrap();
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let basic = |plain: &str| format!("Basic {}", STANDARD.encode(plain));
    let ask = async |fields: &[(&str, &str)], header: Option<String>| {
        let form = peer.form("/oauth/token", &[&grant, fields].concat());
        let form = match header {
            Some(header) => form.header("authorization", header),
            None => form,
        };
        peer.send(form).await
    };
    let encoded = Some(basic("my%3Aid:a%2Bb%25+c"));
    assert_refused(&ask(&[], encoded.clone()).await, 400, "invalid_grant");
    let named = [("client_id", "my:id")];
    assert_refused(&ask(&named, encoded.clone()).await, 400, "invalid_grant");
    let both = [("client_id", "my:id"), ("client_secret", "a+b% c")];
    assert_refused(&ask(&both, None).await, 400, "invalid_grant");
    assert_refused(&ask(&both, encoded.clone()).await, 400, "invalid_request");
    assert_refused(
        &ask(&[("client_id", "you")], encoded).await,
        400,
        "invalid_request",
    );
    for (fields, header) in [
        (vec![], None),
        (vec![("client_id", "my:id")], None),
        (vec![("client_id", "my:id"), ("client_secret", "no")], None),
        (vec![], Some(basic("my%3Aid:no"))),
        (vec![], Some("Bearer x".to_owned())),
    ] {
        let answer = ask(&fields, header).await;
        assert_refused(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic"));
    }
}

#[tokio::test]
async fn malformed_token_requests_are_refused() {
    let peer = Peer::new().await;
    let unknown = peer.client_form("/oauth/token", &[("grant_type", "password")]);
    assert_refused(&peer.send(unknown).await, 400, "unsupported_grant_type");
    let none = peer.client_form("/oauth/token", &[]);
    assert_refused(&peer.send(none).await, 400, "invalid_request");
    let twice = [
        ("grant_type", "refresh_token"),
        ("grant_type", "refresh_token"),
    ];
    let twice = peer.client_form("/oauth/token", &twice);
    assert_refused(&peer.send(twice).await, 400, "invalid_request");
    let json = peer.json(Method::POST, "/oauth/token", &json!({})).await;
    assert_refused(&json, 400, "invalid_request");
    let large = peer.form("/oauth/token", &[("x", &"x".repeat(70_000))]);
    assert_eq!(peer.send(large).await.status, 413);
    assert_eq!(peer.get("/oauth/token").await.status, 405);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_reuse_kills() {
    let peer = Peer::new().await;
    let (first_access, first) = peer.seeded();
    let second = peer.send(peer.refresh(&first)).await.json();
    assert_ne!(text(&second, "refresh_token"), first);
    assert_ne!(text(&second, "access_token"), first_access);
    assert!(
        works(&peer, &first_access).await,
        "the old access token lives on"
    );
    assert!(works(&peer, text(&second, "access_token")).await);
    assert_eq!(peer.sandbox.grants(None)[0].generation, 2);

    assert_refused(&peer.send(peer.refresh(&first)).await, 400, "invalid_grant");
    let counts = [
        Counter::TokenRefresh,
        Counter::RefreshReuse,
        Counter::TokenRefused,
    ];
    assert_eq!(counts.map(|c| peer.count(c)), [1, 1, 1]);
    assert!(!works(&peer, text(&second, "access_token")).await);
    let next = peer.refresh(text(&second, "refresh_token"));
    assert_refused(&peer.send(next).await, 400, "invalid_grant");
    assert_eq!(peer.sandbox.grants_alive(), 0);
    let kinds: Vec<_> = peer
        .sandbox
        .events(0)
        .events
        .iter()
        .map(|e| e.kind)
        .collect();
    assert!(kinds.contains(&EventKind::Reuse), "{kinds:?}");
}

#[tokio::test]
async fn within_its_grace_a_token_gets_the_same_successor() {
    let settings = Settings {
        grace_s: 10.0,
        ..Settings::default()
    };
    let peer = Peer::with(settings).await;
    let (_, first) = peer.seeded();
    let second = peer.send(peer.refresh(&first)).await.json();
    peer.clock.advance(Duration::from_millis(9_999));
    let again = peer.send(peer.refresh(&first)).await.json();
    for field in ["access_token", "refresh_token"] {
        assert_eq!(again[field], second[field]);
    }
    assert_eq!(again["expires_in"], 3590, "what is left of it");
    peer.clock.advance(Duration::from_millis(1));
    assert_refused(&peer.send(peer.refresh(&first)).await, 400, "invalid_grant");
    let counts = [
        Counter::TokenRefresh,
        Counter::RefreshGrace,
        Counter::RefreshReuse,
    ];
    assert_eq!(counts.map(|c| peer.count(c)), [1, 1, 1]);
}

#[tokio::test]
async fn reuse_may_be_an_error_alone() {
    let settings = Settings {
        reuse_kills: false,
        ..Settings::default()
    };
    let peer = Peer::with(settings).await;
    let (_, first) = peer.seeded();
    let second = peer.send(peer.refresh(&first)).await.json();
    assert_refused(&peer.send(peer.refresh(&first)).await, 400, "invalid_grant");
    assert_eq!(peer.count(Counter::RefreshReuse), 1);
    let next = peer.refresh(text(&second, "refresh_token"));
    assert_eq!(peer.send(next).await.status, 200);
}

#[tokio::test]
async fn a_provider_without_rotation_returns_no_refresh_token() {
    let settings = Settings {
        rotation: Rotation::None,
        old_access_dies: true,
        omit_expires_in: true,
        ..Settings::default()
    };
    let peer = Peer::with(settings).await;
    let (access, refresh) = peer.seeded();
    for _ in 0..2 {
        let answer = peer.send(peer.refresh(&refresh)).await.json();
        assert_eq!(
            (answer.get("refresh_token"), answer.get("expires_in")),
            (None, None)
        );
        assert!(works(&peer, text(&answer, "access_token")).await);
    }
    assert!(!works(&peer, &access).await);
    assert_eq!(peer.count(Counter::RefreshReuse), 0);
}

#[tokio::test]
async fn lives_are_as_long_as_set() {
    let settings = Settings {
        access_lifetime_s: 1.9,
        refresh_lifetime_s: 5.0,
        ..Settings::default()
    };
    let peer = Peer::with(settings).await;
    let tokens = peer.send(peer.exchange(&peer.code().await)).await.json();
    assert_eq!(
        (&tokens["expires_in"], &tokens["refresh_token_expires_in"]),
        (&json!(1), &json!(5))
    );
    peer.clock.advance(Duration::from_millis(1_899));
    assert!(works(&peer, text(&tokens, "access_token")).await);
    peer.clock.advance(Duration::from_millis(1));
    assert!(!works(&peer, text(&tokens, "access_token")).await);
    peer.clock.advance(Duration::from_millis(3_100));
    let late = peer.refresh(text(&tokens, "refresh_token"));
    assert_refused(&peer.send(late).await, 400, "invalid_grant");
    assert_eq!(peer.count(Counter::RefreshReuse), 0);
}

#[tokio::test]
async fn a_grant_may_have_no_refresh_token() {
    let settings = Settings {
        omit_refresh_token: true,
        ..Settings::default()
    };
    let peer = Peer::with(settings).await;
    let tokens = peer.send(peer.exchange(&peer.code().await)).await.json();
    assert_eq!(tokens.get("refresh_token"), None);
}

#[tokio::test]
async fn a_refresh_may_ask_for_less_scope() {
    let peer = Peer::new().await;
    let (_, first) = peer.seeded();
    let ask = async |token: &str, scope: &str| {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("scope", scope),
        ];
        peer.send(peer.client_form("/oauth/token", &fields)).await
    };
    assert_refused(&ask(&first, "profile admin").await, 400, "invalid_scope");
    assert_eq!(ask(&first, "profile").await.json()["scope"], "profile");
}

#[tokio::test]
async fn overlap_counts_presentations_that_meet() {
    let peer = Peer::new().await;
    let (_, first) = peer.seeded();
    peer.fault(Fault::new(Target::Refresh, FaultKind::Hang));
    let second = async {
        peer.reach(Counter::FaultsHit, 1).await;
        assert_eq!(peer.send(peer.refresh(&first)).await.status, 200);
        peer.sandbox.clear_faults();
    };
    let (late, ()) = tokio::join!(peer.send(peer.refresh(&first)), second);
    assert_refused(&late, 400, "invalid_grant");
    let counts = [Counter::RefreshOverlap, Counter::RefreshReuse];
    assert_eq!(counts.map(|c| peer.count(c)), [1, 1]);

    let (_, other) = peer.seeded();
    peer.send(peer.refresh(&other)).await;
    peer.send(peer.refresh(&other)).await;
    assert_eq!(
        peer.count(Counter::RefreshOverlap),
        1,
        "one after the other does not meet"
    );
}

#[tokio::test]
async fn a_slow_provider_acts_although_its_client_has_gone() {
    let peer = Peer::new().await;
    let (_, first) = peer.seeded();
    peer.sandbox.change(|s| s.token_hold_ms = 200).unwrap();
    let impatient = peer.refresh(&first).timeout(Duration::from_millis(50));
    assert!(peer.try_send(impatient).await.unwrap_err().is_timeout());
    assert_eq!(peer.count(Counter::TokenRefresh), 0);
    peer.reach(Counter::TokenRefresh, 1).await;
}

#[tokio::test]
async fn revocation_ends_the_whole_grant() {
    let peer = Peer::new().await;
    let revoke = async |token: &str| {
        let fields = [("token", token), ("token_type_hint", "refresh_token")];
        peer.send(peer.client_form("/oauth/revoke", &fields)).await
    };
    for with_access in [true, false] {
        let (access, refresh) = peer.seeded();
        let answer = revoke(if with_access { &access } else { &refresh }).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert!(!works(&peer, &access).await);
        assert_refused(
            &peer.send(peer.refresh(&refresh)).await,
            400,
            "invalid_grant",
        );
        assert_eq!(revoke(&access).await.status, 200, "again does not hurt");
    }
    assert_eq!(revoke("unknown").await.status, 200);
    assert_eq!(peer.count(Counter::Revocations), 2);
}

#[tokio::test]
async fn revocation_is_for_the_grants_own_client() {
    let peer = Peer::new().await;
    let other = Client {
        client_id: "other".into(),
        client_secret: "o".into(),
        ..Client::default_client()
    };
    peer.sandbox.register(other).unwrap();
    let (access, _) = peer.seeded();
    let credentials = [
        ("client_id", "other"),
        ("client_secret", "o"),
        ("token", &*access),
    ];
    let answer = peer.send(peer.form("/oauth/revoke", &credentials)).await;
    assert_refused(&answer, 400, "unauthorized_client");
    let nobody = peer
        .send(peer.form("/oauth/revoke", &[("token", &*access)]))
        .await;
    assert_refused(&nobody, 401, "invalid_client");
    let nothing = peer.send(peer.client_form("/oauth/revoke", &[])).await;
    assert_refused(&nothing, 400, "invalid_request");
    assert!(works(&peer, &access).await);
}
