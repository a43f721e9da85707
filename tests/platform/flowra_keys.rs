//! Connections that hold no OAuth tokens: a key, a password or a bearer token, given on the page of a link.

use base64::{Engine, prelude::BASE64_STANDARD};
use latchkey_tests::{Browser, Http, Partner, Sandbox, Server, ServerOptions};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{flowra::Client, secrets::Secrets};

/// A kind of credentials: what is typed on the page, whose they are, and the header that has them at the provider.
struct Kind {
    scheme: &'static str,
    typed: Vec<(&'static str, String)>,
    whose: String,
    authorization: String,
    key: Option<String>,
}

fn kinds(token: &str, owner: &str) -> Vec<Kind> {
    let basic = BASE64_STANDARD.encode("bob:sandbox-password");
    vec![
        Kind {
            scheme: "API_KEY",
            typed: vec![("api_key", "sandbox-key-ada".to_owned())],
            whose: "ada".to_owned(),
            authorization: String::new(),
            key: Some("sandbox-key-ada".to_owned()),
        },
        Kind {
            scheme: "BASIC",
            typed: vec![
                ("username", "bob".to_owned()),
                ("password", "sandbox-password".to_owned()),
            ],
            whose: "bob".to_owned(),
            authorization: format!("Basic {basic}"),
            key: None,
        },
        Kind {
            scheme: "BEARER_TOKEN",
            typed: vec![("token", token.to_owned())],
            whose: owner.to_owned(),
            authorization: format!("Bearer {token}"),
            key: None,
        },
    ]
}

/// Opens a link and sends its form; where the browser lands in the end.
async fn give(link: &Value, typed: &[(&str, String)]) -> Url {
    let page: Url = link["redirectUrl"].as_str().unwrap().parse().unwrap();
    let mut browser = Browser::new();
    let shown = browser.request("GET", &page, None).await;
    assert!(
        shown.text().contains("type=\"password\""),
        "{}",
        shown.text()
    );
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(typed);
    let sent = browser.request("POST", &page, Some(form.finish())).await;
    assert_eq!(sent.status, 303, "{}", sent.text());
    let next = page.join(&sent.header("location")).unwrap();
    // The partner's page at once, or a page of ours that waits for the worker.
    browser.until(next.as_str(), "", Partner::REDIRECT).await
}

/// An access token that the sandbox gave out, and its user.
async fn given_out(sandbox: &Sandbox) -> (String, String) {
    let url = format!("{}/sandbox/grants/seed", sandbox.url);
    let answer = Http::new()
        .json("POST", &url, &[], &json!({"count": 1}))
        .await;
    let seeded = answer.json()["grants"][0].clone();
    let text = |name: &str| seeded[name].as_str().unwrap().to_owned();
    (text("access_token"), text("user"))
}

#[tokio::test]
async fn keys_passwords_and_bearer_tokens_connect_and_reach_the_provider_as_its_file_says() {
    let sandbox = Sandbox::start(&[]).await;
    let mut server = Server::start(ServerOptions::default().with_log("trace")).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let (token, owner) = given_out(&sandbox).await;
    let kinds = kinds(&token, &owner);
    for kind in &kinds {
        let client = Client {
            server: &server,
            partner: &partner,
            user: kind.scheme,
        };
        let config = client.config(&sandbox, kind.scheme).await;
        walk(&client, &config, kind).await;
        a_wrong_one_is_refused(&client, &config, kind).await;
    }
    // Nothing was spent, refreshed or revoked at the provider: there is nothing to.
    let counters = sandbox.counters().await;
    for counter in ["token_requests", "token_refresh", "revocations"] {
        assert_eq!(counters[counter], 0, "{counter}: {counters}");
    }
    server.stop().await;
    let mut words = vec![
        BASE64_STANDARD.encode("bob:sandbox-password"),
        partner.key.clone(),
    ];
    words.extend(kinds.into_iter().flat_map(|kind| {
        let typed = kind.typed.into_iter();
        typed
            .filter(|(name, _)| *name != "username")
            .map(|(_, value)| value)
    }));
    let secrets = Secrets::new(words);
    secrets.are_not_logged_by(&[&server]);
    secrets.are_not_below(&server.data_dir());
}

async fn walk(client: &Client<'_>, config: &str, kind: &Kind) {
    let link = client.link(config).await;
    let id = link["connectedAccountId"].as_str().unwrap();
    let landed = give(&link, &kind.typed).await;
    assert!(
        landed
            .as_str()
            .ends_with(&format!("connectionId={id}&status=success")),
        "{landed}"
    );
    let one = format!("/connected_accounts/{id}");
    let seen = client.get(&one).await;
    assert_eq!(
        (&seen["status"], &seen["state"]["authScheme"], &seen["eUID"]),
        (&json!("ACTIVE"), &json!(kind.scheme), &json!(kind.scheme)),
        "{seen}"
    );
    for (name, value) in kind.typed.iter().filter(|(name, _)| *name != "username") {
        assert_eq!(seen["state"]["val"][name], "REDACTED", "{seen}");
        assert!(!seen.to_string().contains(value.as_str()));
    }
    // Used on either side.
    let body = Some(json!({"connectedAccountId": id}));
    let (status, run) = client
        .send("POST", "/tools/execute/SANDBOX_GET_PROFILE", body)
        .await;
    assert_eq!(
        (status, &run["data"]["sub"]),
        (201, &json!(kind.whose)),
        "{run}"
    );
    let (partner, user) = (client.partner, kind.scheme);
    let echo = partner
        .call("GET", "/proxy/sandbox/api/echo", user, &[], None)
        .await
        .json();
    let digest: [u8; 8] = Sha256::digest(&kind.authorization)[..8].try_into().unwrap();
    let digest = format!("{:016x}", u64::from_be_bytes(digest));
    assert_eq!(
        echo["authorization_sha256"],
        digest.as_str(),
        "{}",
        kind.scheme
    );
    assert_eq!(echo["headers"]["x-api-key"].as_str(), kind.key.as_deref());
    // There is nothing to refresh, and nothing to tell the provider when it goes.
    let (status, refused) = client.send("POST", &format!("{one}/refresh"), None).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("CONFLICT")),
        "{refused}"
    );
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("no refresh token"),
        "{refused}"
    );
    assert_eq!(client.send("DELETE", &one, None).await.0, 200);
    let jobs = partner.send("GET", "/jobs?limit=1", None).await.data();
    let job = partner.job(jobs["jobs"][0]["id"].as_str().unwrap()).await;
    assert_eq!(
        (&job["kind"], &job["receipt"]["outcome"]),
        (&json!("revoke_grant"), &json!("not_supported")),
        "{job}"
    );
    let (status, _) = client
        .send(
            "POST",
            "/tools/execute/SANDBOX_GET_PROFILE",
            Some(json!({})),
        )
        .await;
    assert_eq!(status, 404);
}

async fn a_wrong_one_is_refused(client: &Client<'_>, config: &str, kind: &Kind) {
    let link = client.link(config).await;
    let wrong: Vec<_> = kind
        .typed
        .iter()
        .map(|(name, _)| (*name, "wrong-credential".to_owned()))
        .collect();
    let landed = give(&link, &wrong).await;
    assert!(
        landed
            .as_str()
            .ends_with("status=failed&error=credentials_refused"),
        "{landed}"
    );
    let failed = client.get("/connected_accounts?statuses=FAILED").await;
    assert_eq!(failed["items"][0]["id"], link["connectedAccountId"]);
}
