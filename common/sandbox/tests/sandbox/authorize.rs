//! The authorize endpoint, the consent page and its decision.

use latchkey_sandbox::{Client, Counter, Fault, FaultKind, IssMode, Settings, Target};
use serde_json::json;

use crate::client::{Answer, Peer};

/// The one-time ticket in the consent page's form.
fn ticket(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{}", page.text());
    let html = page.text();
    let (_, rest) = html.split_once("name=\"consent\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

async fn decide(peer: &Peer, ticket: &str, user: &str, decision: &str) -> Answer {
    let fields = [("consent", ticket), ("user", user), ("decision", decision)];
    peer.send(peer.form("/oauth/authorize/decision", &fields))
        .await
}

#[tokio::test]
async fn a_person_reads_the_page_and_allows() {
    let peer = Peer::new().await;
    let page = peer
        .authorize(&[("scope", "profile <b>x</b>"), ("login_hint", "bob")])
        .await;
    let html = page.text();
    for part in [
        "Allow sandbox-client?",
        "<code>profile</code>",
        "<code>&lt;b&gt;x&lt;/b&gt;</code>",
        "value=\"bob\"",
        "You go back to http://127.0.0.1:9",
        "lang=\"en\"",
        "<label for=\"user\">",
        ">Allow</button>",
        ">Deny</button>",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    assert_eq!(page.header("cache-control"), "no-store");

    let ticket = ticket(&page);
    let back = decide(&peer, &ticket, "eve@example.com", "allow")
        .await
        .redirect();
    assert_eq!(back["mine"], "1", "the redirect URI's own query is kept");
    assert_eq!(back["state"], "st&te");
    assert_eq!(back["iss"], peer.sandbox.base_url());
    let tokens = peer.send(peer.exchange(&back["code"])).await.json();
    assert_eq!(tokens["scope"], "profile <b>x</b>");
    assert_eq!(peer.sandbox.grants(Some("eve@example.com")).len(), 1);
    assert_eq!(peer.count(Counter::Consents), 1);

    let again = decide(&peer, &ticket, "ada", "allow").await;
    assert_eq!(again.status, 400, "a page is answered once");
    assert!(again.text().contains("answered already"));
}

#[tokio::test]
async fn deny_goes_back_without_a_code() {
    let peer = Peer::new().await;
    let ticket = ticket(&peer.authorize(&[]).await);
    let back = decide(&peer, &ticket, "ada", "deny").await.redirect();
    assert_eq!(back["error"], "access_denied");
    assert_eq!(
        (&*back["state"], back.contains_key("code")),
        ("st&te", false)
    );
    assert_eq!(
        (peer.count(Counter::Denials), peer.count(Counter::Consents)),
        (1, 0)
    );
}

#[tokio::test]
async fn a_bad_decision_leaves_the_page_open() {
    let peer = Peer::new().await;
    let ticket = ticket(&peer.authorize(&[]).await);
    for (user, decision) in [("ada", "perhaps"), ("<ada>", "allow"), ("ada", "")] {
        assert_eq!(decide(&peer, &ticket, user, decision).await.status, 400);
    }
    assert_eq!(decide(&peer, "guess", "ada", "allow").await.status, 400);
    decide(&peer, &ticket, "", "allow").await.redirect();
    assert_eq!(
        peer.sandbox.events(0).events[1].user.as_deref(),
        Some("ada")
    );
}

#[tokio::test]
async fn consent_comes_at_once_where_it_is_switched_on() {
    let peer = Peer::new().await;
    assert!(
        peer.authorize(&[("prompt", "none")])
            .await
            .redirect()
            .contains_key("code")
    );
    assert_eq!(peer.authorize(&[("prompt", "consent")]).await.status, 200);
    peer.sandbox.change(|s| s.auto_consent = true).unwrap();
    let back = peer.authorize(&[("login_hint", "bob")]).await.redirect();
    peer.send(peer.exchange(&back["code"])).await;
    assert_eq!(peer.sandbox.grants(None)[0].user, "bob");
}

#[tokio::test]
async fn what_cannot_be_trusted_is_never_redirected() {
    let peer = Peer::new().await;
    for changes in [
        [("client_id", "nobody")],
        [("client_id", "")],
        [("redirect_uri", "https://evil.example/callback")],
        [("redirect_uri", "http://127.0.0.1.evil.example/")],
        [("redirect_uri", "javascript:alert(1)")],
        [("redirect_uri", "")],
        [("state", &*"s".repeat(5000))],
    ] {
        let answer = peer.authorize(&changes).await;
        assert_eq!(answer.status, 400, "{changes:?}");
        assert_eq!(answer.header("location"), "");
        assert!(answer.header("content-type").starts_with("text/html"));
    }
    let twice = peer
        .get("/oauth/authorize?client_id=sandbox-client&client_id=x")
        .await;
    assert_eq!(twice.status, 400);
}

#[tokio::test]
async fn other_errors_go_back_to_the_client() {
    let peer = Peer::new().await;
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("scope", "a  b", "invalid_scope"),
    ] {
        let back = peer.authorize(&[(name, value)]).await.redirect();
        assert_eq!(
            (&*back["error"], &*back["state"]),
            (error, "st&te"),
            "{name}={value}"
        );
        assert_eq!(back["iss"], peer.sandbox.base_url());
    }
    assert_eq!(peer.count(Counter::AuthorizeRequests), 7);
    peer.sandbox.change(|s| s.require_pkce = false).unwrap();
    let lax = [("code_challenge", ""), ("code_challenge_method", "")];
    assert_eq!(peer.authorize(&lax).await.status, 200);
}

#[tokio::test]
async fn redirect_uris_of_registered_clients_match_exactly() {
    let peer = Peer::new().await;
    let client = Client {
        client_id: "strict".into(),
        client_secret: "s".into(),
        redirect_uris: vec!["http://127.0.0.1:9/callback?a=1".into()],
        loopback_redirects: false,
    };
    peer.sandbox.register(client).unwrap();
    let ask = async |uri: &str| {
        let changes = [
            ("client_id", "strict"),
            ("redirect_uri", uri),
            ("prompt", "none"),
        ];
        peer.authorize(&changes).await.status
    };
    assert_eq!(ask("http://127.0.0.1:9/callback?a=1").await, 303);
    assert_eq!(ask("http://127.0.0.1:9/callback?a=1&b=2").await, 400);
    assert_eq!(ask("http://127.0.0.1:9/callback").await, 400);
}

#[tokio::test]
async fn the_issuer_can_be_left_out_or_wrong() {
    for (iss, shown) in [
        (IssMode::Omit, None),
        (IssMode::Wrong, Some("https://somebody-else.example")),
    ] {
        let settings = Settings {
            iss,
            ..Settings::default()
        };
        let peer = Peer::with(settings).await;
        let back = peer.authorize(&[("prompt", "none")]).await.redirect();
        assert_eq!(back.get("iss").map(String::as_str), shown);
    }
}

#[tokio::test]
async fn a_fault_sends_the_browser_back_with_its_error() {
    let peer = Peer::new().await;
    let kind = FaultKind::OauthError {
        code: "temporarily_unavailable".into(),
    };
    peer.fault(Fault::new(Target::Authorize, kind));
    let back = peer.authorize(&[("prompt", "none")]).await.redirect();
    assert_eq!(back["error"], "temporarily_unavailable");
    assert!(!back.contains_key("code"));
    peer.fault(Fault::new(Target::Authorize, FaultKind::Html));
    assert_eq!(peer.authorize(&[]).await.status, 200);
    assert!(
        peer.authorize(&[("prompt", "none")])
            .await
            .redirect()
            .contains_key("code")
    );
}

#[tokio::test]
async fn metadata_names_what_is_served() {
    let peer = Peer::new().await;
    let base = peer.sandbox.base_url();
    let metadata = peer
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(metadata["issuer"], base);
    assert_eq!(metadata["token_endpoint"], format!("{base}/oauth/token"));
    assert_eq!(
        metadata["revocation_endpoint"],
        format!("{base}/oauth/revoke")
    );
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    assert!(peer.get("/").await.text().contains("/sandbox/counters"));
}
