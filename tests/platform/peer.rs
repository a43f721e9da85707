//! An OAuth server that nobody here wrote: django-oauth-toolkit, added as an operator's catalogue file.
//! `tests/run` makes its virtual environment in `tests/peers/venv`.

use std::{fs, path::PathBuf};

use latchkey_tests::{Browser, Child, Http, Partner, Server, ServerOptions, until};
use serde_json::{Value, json};
use tokio::process::Command;

/// Our own count of refreshes.
const REFRESHES: &str = "latchkey_refresh_total";

/// The peer and a server that knows it.
struct Peers {
    server: Server,
    url: String,
    http: Http,
    // Both end with this.
    _peer: Child,
    _directory: tempfile::TempDir,
}

impl Peers {
    async fn start() -> Self {
        let peers = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"));
        let python = peers.join("venv/bin/python");
        assert!(
            python.is_file(),
            "{} is missing: run tests/run, it makes it",
            python.display()
        );
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(&python);
        command
            .arg(peers.join("django_server.py"))
            .arg(directory.path().join("peer.db"));
        let mut peer = Child::spawn(command, &[]);
        let ready: Value = serde_json::from_str(&peer.line().await).unwrap();
        let url = ready["url"].as_str().unwrap().to_owned();

        let catalog = directory.path().join("catalog");
        fs::create_dir(&catalog).unwrap();
        let entry = include_str!("../peers/django.toml").replace("{url}", &url);
        fs::write(catalog.join("django.toml"), entry).unwrap();
        let options = ServerOptions::default().with("CATALOG_DIR", catalog.display());
        let server = Server::start(options).await;
        let arguments = [
            "auth-config",
            "create",
            "--provider",
            "django",
            "--client-file",
            "-",
        ];
        let made = server
            .command(&arguments, "latchkey-test\nlatchkey-test-secret:+%\n")
            .await;
        assert_eq!(made.code, 0, "{made:?}");
        let http = Http::new();
        let redirect = json!({ "redirect_uri": made.json()["callback_url"] });
        let registered = http
            .json("POST", &format!("{url}/peer/register"), &[], &redirect)
            .await;
        assert_eq!(registered.status, 200, "{}", registered.text());
        Self {
            server,
            url,
            http,
            _peer: peer,
            _directory: directory,
        }
    }

    /// What the peer's own database says of refresh tokens.
    async fn tokens(&self) -> Value {
        self.http
            .send("GET", &format!("{}/peer/tokens", self.url), &[], None)
            .await
            .json()
    }
}

/// Connects, is refreshed three times by the scheduler, and revokes: the peer's own database shows one living
/// refresh token before and none after.
#[tokio::test]
async fn a_peer_is_connected_refreshed_and_revoked() {
    let peers = Peers::start().await;
    let server = &peers.server;
    let partner = server.partner("test").await;
    let account = partner.account("ada").await;
    let body = json!({ "provider": "django", "redirect_url": Partner::REDIRECT });
    let session = partner
        .send("POST", &format!("/accounts/{account}/connect"), Some(body))
        .await
        .data();
    let landed = Browser::new()
        .consent(session["connect_url"].as_str().unwrap(), "ada")
        .await;
    assert!(
        landed.query().unwrap().contains("status=success"),
        "{landed}"
    );
    let profile = partner
        .call("GET", "/proxy/django/api/api/me", "ada", &[], None)
        .await;
    assert_eq!(
        (
            profile.status,
            profile.json()["username"].as_str().map(str::to_owned)
        ),
        (200, Some("ada".into()))
    );

    // Three refreshes by the clock: four refresh tokens were ever made, one lives. The peer ends the old access
    // token when it makes a new one, a moment before that has landed here, and answers 403 to it: hence both.
    let seen = until("three refreshes", || async {
        let seen = peers.tokens().await;
        let landed = server.metric(REFRESHES, &[r#"outcome="refreshed""#]).await;
        (seen["ever"].as_u64() >= Some(4) && landed >= 3.0).then_some(seen)
    })
    .await;
    assert_eq!(seen["living"], 1, "{seen}");
    let profile = partner
        .call("GET", "/proxy/django/api/api/me", "ada", &[], None)
        .await;
    assert_eq!(profile.status, 200, "{}", profile.text());

    let gone = partner
        .send(
            "DELETE",
            &format!("/accounts/{account}/integrations/django"),
            None,
        )
        .await;
    assert_eq!(gone.data()["deleted"], true);
    until("no living refresh token after the revocation", || async {
        (peers.tokens().await["living"] == 0).then_some(())
    })
    .await;
}
