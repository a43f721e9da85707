//! No token, code, key, state, verifier or link secret in any log line, at trace level, nor readable in the
//! store (`reliability.md` A13, A14).

use std::{fs, path::Path, process::Stdio};

use latchkey_tests::{Browser, Sandbox, Server, ServerOptions};
use regex::Regex;
use serde_json::json;

/// Everything below a directory that is a file.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// What somebody who reads along must not find.
pub(super) struct Secrets {
    /// Word by word.
    words: Vec<String>,
    /// The provider's tokens, which nobody but the worker ever saw.
    tokens: Regex,
}

impl Secrets {
    /// These words, and every token of the sandbox.
    pub(super) fn new(words: Vec<String>) -> Self {
        Self {
            words,
            tokens: Regex::new(r"sbx_(at|rt)_").unwrap(),
        }
    }

    /// Asserts that none of them stands in a text.
    pub(super) fn are_not_in(&self, text: &str, place: &str) {
        assert!(
            !self.tokens.is_match(text),
            "{place} holds a provider's token"
        );
        for word in &self.words {
            assert!(word.len() >= 8, "'{word}' is too short to look for");
            let length = word.len();
            assert!(
                !text.contains(word.as_str()),
                "{place} holds a secret of {length} characters"
            );
        }
    }

    /// Asserts that processes logged none of them, at trace level.
    pub(super) fn are_not_logged_by(&self, servers: &[&Server]) {
        let logs: Vec<_> = servers.iter().map(|server| server.process.log()).collect();
        assert!(
            logs.iter().any(|log| log.contains("TRACE")),
            "the logs are at trace level"
        );
        for log in &logs {
            self.are_not_in(log, "the log");
        }
    }

    /// Asserts that no file of a data directory shows one, but those two that are for their owner's eyes.
    pub(super) fn are_not_below(&self, directory: &Path) {
        for path in files(directory)
            .into_iter()
            .filter(|p| !p.ends_with("key") && !p.ends_with("run.json"))
        {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            self.are_not_in(&text, &path.display().to_string());
        }
    }
}

/// A life with every kind of secret in it: connecting, calls that are waited for and that are not, refreshes, a
/// provider that refuses, a call that fails, deletion. Access tokens of the sandbox live for 5 s.
pub(super) async fn live(server: &Server, sandbox: &Sandbox) -> Secrets {
    server.sandbox_config(sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.account("user-1").await;
    let session = partner.begin_connect(&account).await;
    let link = session["connect_url"].as_str().unwrap().to_owned();
    let mut browser = Browser::new();
    browser.consent(&link, "user-1").await;
    partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await
        .data();
    for prefer in ["wait=30", "respond-async"] {
        let body = Some(json!({ "text": "canary-body-7719" }));
        let prefer = &[("prefer", prefer)];
        partner
            .call("POST", "/sandbox/messages", "user-1", prefer, body)
            .await
            .data();
    }
    sandbox.wait("api_writes", 2).await;
    sandbox.wait("token_refresh", 2).await;
    // Errors too: a provider that refuses, and a call that fails.
    sandbox.revoke_all().await;
    partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    partner
        .send("DELETE", &format!("/accounts/{account}"), None)
        .await
        .data();
    let mut words: Vec<String> = vec![
        partner.key.clone(),
        "sandbox-secret".into(),
        "canary-body-7719".into(),
        server.operator_token.clone(),
        link.rsplit('/').next().unwrap().to_owned(),
    ];
    // What travelled in redirects: states, codes, challenges.
    words.extend(browser.seen.iter().flat_map(|url| {
        url.query_pairs()
            .filter(|(name, value)| {
                matches!(name.as_ref(), "state" | "code" | "consent") && !value.is_empty()
            })
            .map(|(_, value)| value.into_owned())
            .collect::<Vec<_>>()
    }));
    words.extend(
        browser
            .cookies
            .values()
            .filter(|value| !value.is_empty())
            .cloned(),
    );
    assert!(words.len() >= 8, "{}", words.len());
    Secrets::new(words)
}

#[tokio::test]
async fn no_secret_is_logged_or_stored_readable() {
    let sandbox = Sandbox::start(&["access_lifetime_s=5"]).await;
    let options = ServerOptions::default().with_log("trace");
    let mut server = Server::start(options).await;
    let secrets = live(&server, &sandbox).await;
    server.stop().await;
    secrets.are_not_logged_by(&[&server]);
    secrets.are_not_below(&server.data_dir());
}

/// Ciphertext moved to another row is refused and counted; the other grant goes on.
#[tokio::test]
async fn moved_ciphertext_is_refused_and_counted() {
    let sandbox = Sandbox::start(&[]).await;
    let mut server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    partner.connected("user-2").await;
    server.stop().await;
    let before = sandbox.count("api_calls").await;
    match &server.fleet {
        Some(fleet) => fleet.database().execute(SWAP).await,
        None => swap(&server.data_dir().join("latchkey.db")),
    }
    server.restart().await;
    for user in ["user-1", "user-2"] {
        let answer = partner
            .call("GET", "/sandbox/profile", user, &[], None)
            .await;
        assert!(
            answer.status >= 400,
            "{user} was answered with another's token: {}",
            answer.text()
        );
    }
    let counted = server
        .metric("latchkey_aead_failures_total", &["grant_secrets"])
        .await;
    assert!(counted >= 2.0, "{counted}");
    assert_eq!(sandbox.count("api_calls").await, before, "nothing went out");
}

/// Exchanges the sealed tokens of the two grants, as somebody with write access to the store could.
const SWAP: &str = "UPDATE grant_secrets SET sealed = \
    (SELECT other.sealed FROM grant_secrets other WHERE other.grant_id <> grant_secrets.grant_id)";

/// The same in a file.
fn swap(database: &Path) {
    let script = "import sqlite3,sys\n\
        c=sqlite3.connect(sys.argv[1])\n\
        rows=c.execute('select grant_id,sealed from grant_secrets order by grant_id').fetchall()\n\
        assert len(rows)==2\n\
        for (g,_),(_,s) in zip(rows,reversed(rows)): c.execute('update grant_secrets set sealed=? where grant_id=?',(s,g))\n\
        c.commit()";
    let done = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(database)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(done.success());
}
