//! Flowra's side as its enemies use it: links that are guessed, used twice or outlive what they were made for,
//! another partner's ids in bodies, and inputs that would lead a request elsewhere.

use latchkey_tests::{Browser, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::{Value, json};
use url::Url;

use crate::flowra::{Client, ids};

async fn platform() -> (Sandbox, Server, Partner) {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    (sandbox, server, partner)
}

/// A link works once, for one browser, and none can be made up.
#[tokio::test]
async fn a_link_works_once_and_cannot_be_guessed() {
    let (sandbox, server, partner) = platform().await;
    let ada = Client {
        server: &server,
        partner: &partner,
        user: "ada",
    };
    let config = ada.config(&sandbox, "OAUTH2").await;
    let link = ada.link(&config).await;
    let (url, token) = (
        link["redirectUrl"].as_str().unwrap(),
        link["linkToken"].as_str().unwrap(),
    );
    assert!(
        url.ends_with(token) && token.len() >= 43,
        "256 bits: {token}"
    );
    let mut other = token.to_owned();
    let last = other.pop().unwrap();
    let cut = other.clone();
    other.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in [
        other.as_str(),
        &cut,
        &format!("{token}A"),
        &token.to_lowercase(),
        link["connectedAccountId"].as_str().unwrap(),
        "%00",
        "..%2f",
    ] {
        let page: Url = url.replace(token, wrong).parse().unwrap();
        let answer = Browser::new().request("GET", &page, None).await;
        assert_eq!(answer.status, 404, "{wrong}: {}", answer.text());
    }
    // On the way in one browser, it leads nowhere in another; and afterwards nowhere at all.
    let mut browser = Browser::new();
    let callback = format!("{}/api/v1/connect/callback/", server.url);
    let home = browser.until(url, "ada", &callback).await;
    let page: Url = url.parse().unwrap();
    assert_eq!(Browser::new().request("GET", &page, None).await.status, 403);
    let landed = browser.visit(home.as_str(), "ada", "allow").await;
    assert!(landed.as_str().ends_with("status=success"), "{landed}");
    for method in ["GET", "POST"] {
        let form = (method == "POST").then(String::new);
        let again = Browser::new().request(method, &page, form).await;
        assert_eq!(again.status, 410, "{}", again.text());
    }
    assert_eq!(sandbox.count("token_requests").await, 1);
}

/// What another partner has is nothing in a body or a filter either.
#[tokio::test]
async fn another_partners_ids_in_bodies_and_filters_are_no_ids() {
    let (sandbox, server, partner) = platform().await;
    let other = server.partner("test").await;
    let (ada, eve) = (
        Client {
            server: &server,
            partner: &partner,
            user: "ada",
        },
        Client {
            server: &server,
            partner: &other,
            user: "ada",
        },
    );
    let config = ada.config(&sandbox, "API_KEY").await;
    let own = eve.config(&sandbox, "API_KEY").await;
    let given = |config: &str, more: Value| {
        let mut body = json!({"authConfig": {"id": config}, "connection": {"eUID": "ada", "state":
            {"authScheme": "API_KEY", "val": {"api_key": "sandbox-key-ada"}}}});
        let members = body.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        body
    };
    let body = given(&config, json!({}));
    let (status, made) = ada.send("POST", "/connected_accounts", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    let cursor = ada.get("/connected_accounts?limit=1").await["nextCursor"].clone();
    assert_eq!(cursor, Value::Null);
    for (path, body) in [
        ("/connected_accounts", given(&config, json!({}))),
        (
            "/connected_accounts",
            given(&own, json!({"connectedAccountId": id})),
        ),
        ("/connected_accounts/link", json!({"authConfigId": config})),
        (
            "/tools/execute/SANDBOX_GET_PROFILE",
            json!({"connectedAccountId": id}),
        ),
    ] {
        let (status, answer) = eve.send("POST", path, Some(body)).await;
        assert_eq!(status, 404, "{path}: {answer}");
        assert!(!answer.to_string().contains("sandbox-key"), "{answer}");
    }
    for filter in [
        format!("connectedAccountIds={id}"),
        format!("authConfigIds={config}"),
        "eUIDs=ada".to_owned(),
        "labels=ada@sandbox.example".to_owned(),
    ] {
        let list = eve.get(&format!("/connected_accounts?{filter}")).await;
        assert_eq!(
            (ids(&list).len(), &list["totalItems"]),
            (0, &json!(0)),
            "{filter}"
        );
    }
    // Nothing of it was touched.
    assert_eq!(
        ada.get(&format!("/connected_accounts/{id}")).await["status"],
        "ACTIVE"
    );
    assert_eq!(ids(&eve.get("/connected_accounts").await).len(), 0);
}

/// What an end user types or a partner gives never chooses the host that is asked.
#[tokio::test]
async fn connect_time_inputs_lead_to_no_other_host() {
    let (_sandbox, server, partner) = platform().await;
    let ada = Client {
        server: &server,
        partner: &partner,
        user: "ada",
    };
    for (toolkit, input) in [("shopify", "shop"), ("zendesk", "subdomain")] {
        let config = json!({"toolkit": {"slug": toolkit}, "authConfig": {"type": "use_custom_auth",
            "authScheme": "OAUTH2", "credentials": {"client_id": "our-client", "client_secret": "our-secret"}}});
        let (status, made) = ada.send("POST", "/auth_configs", Some(config)).await;
        assert_eq!(status, 200, "{made}");
        let config = made["data"]["id"].as_str().unwrap();
        for evil in [
            "evil.example/",
            "evil.example#",
            "evil.example?",
            "evil.example\\",
            "a@evil.example",
            "evil.example:443",
            "a.evil.example",
            "127.0.0.1",
            "a%2eevil",
            "a\nhost: evil",
            "-a",
            "",
            &"a".repeat(300),
        ] {
            let body = json!({"authConfigId": config, "connectionData": {input: evil}});
            let (status, refused) = ada
                .send("POST", "/connected_accounts/link", Some(body))
                .await;
            assert_eq!(status, 400, "{evil:?}: {refused}");
            assert_eq!(
                refused["error"]["details"][0]["field"],
                format!("connectionData.{input}"),
                "{evil:?}"
            );
        }
        // On the page too; what fits leads to the provider alone.
        let link = ada.link(config).await;
        let page: Url = link["redirectUrl"].as_str().unwrap().parse().unwrap();
        let mut browser = Browser::new();
        browser.request("GET", &page, None).await;
        let evil = Some(format!("{input}=evil.example%23"));
        let refused = browser.request("POST", &page, evil).await;
        assert_eq!(
            (refused.status, refused.header("location").as_str()),
            (400, "")
        );
        let fits = browser
            .request("POST", &page, Some(format!("{input}=books")))
            .await;
        let to: Url = fits.header("location").parse().unwrap();
        let host = to.host_str().unwrap();
        assert!(host.starts_with("books.") && host.contains(toolkit), "{to}");
    }
}

/// A config that is deleted with its accounts while one of them is being connected: either the account is there
/// before and goes along, or what comes is revoked.
#[tokio::test]
async fn nothing_connects_with_a_config_that_is_deleted_meanwhile() {
    let (sandbox, server, partner) = platform().await;
    let ada = Client {
        server: &server,
        partner: &partner,
        user: "ada",
    };
    let managed = json!({"toolkit": {"slug": "sandbox"}, "authConfig": {"type": "use_provider_managed_auth"}});
    let (_, made) = ada.send("POST", "/auth_configs", Some(managed)).await;
    let config = made["data"]["id"].as_str().unwrap();
    let before = ada.connect(config).await;
    // The provider holds the answer to the next exchange back.
    sandbox.fault("exchange", json!("hang"), 1).await;
    let links = [ada.link(config).await, ada.link(config).await];
    let callback = format!("{}/api/v1/connect/callback/", server.url);
    let mut browsers = [Browser::new(), Browser::new()];
    let mut homes = Vec::new();
    for (browser, link) in browsers.iter_mut().zip(&links) {
        let page = link["redirectUrl"].as_str().unwrap();
        homes.push(browser.until(page, "bob", &callback).await);
    }
    let [mut first, mut second] = browsers;
    let home = homes[0].clone();
    let under_way = tokio::spawn(async move { first.visit(home.as_str(), "bob", "allow").await });
    sandbox.wait("token_requests", 2).await;
    let gone = format!("/auth_configs/{config}?cascade=true");
    let (status, answer) = ada.send("DELETE", &gone, None).await;
    assert_eq!(status, 200, "{answer}");
    sandbox.clear_faults().await;
    let landed = under_way.await.unwrap();
    assert!(landed.as_str().contains("status=failed"), "{landed}");
    // The other one's consent is not even exchanged.
    let late = second.request("GET", &homes[1], None).await;
    assert!((400..500).contains(&late.status), "{}", late.status);
    assert_eq!(late.header("location"), "");
    assert_eq!(sandbox.count("token_requests").await, 2);
    // The one that was connected, and the one whose tokens came too late.
    until("both revocations", || async {
        (sandbox.count("revocations").await == 2).then_some(())
    })
    .await;
    let list = ada.get("/connected_accounts").await;
    assert!(ids(&list).iter().all(|id| *id != before), "{list}");
    let alive = ada.get("/connected_accounts?statuses=ACTIVE").await;
    assert_eq!(alive["totalItems"], 0, "{alive}");
}
