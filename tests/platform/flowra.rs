//! Flowra's side as its clients walk it, and both sides over the same rows.

use latchkey_tests::{Browser, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::{Value, json};

/// A client that speaks to Flowra's side.
pub(super) struct Client<'a> {
    pub(super) server: &'a Server,
    pub(super) partner: &'a Partner,
    pub(super) user: &'a str,
}

impl Client<'_> {
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let headers = [
            ("x-api-key", self.partner.key.clone()),
            ("x-username", self.user.to_owned()),
        ];
        let (url, http) = (self.partner.url(path), &self.server.http);
        let answer = match body {
            Some(body) => http.json(method, &url, &headers, &body).await,
            None => http.send(method, &url, &headers, None).await,
        };
        (answer.status, answer.json())
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Makes an auth config at the sandbox of this scheme; its id.
    pub(super) async fn config(&self, sandbox: &Sandbox, scheme: &str) -> String {
        let mut credentials = json!({"base_url": sandbox.url});
        if scheme == "OAUTH2" {
            credentials["client_id"] = "sandbox-client".into();
            credentials["client_secret"] = "sandbox-secret".into();
        }
        let config = json!({"toolkit": {"slug": "sandbox"}, "authConfig": {
            "type": "use_custom_auth", "authScheme": scheme, "credentials": credentials}});
        let (status, made) = self.send("POST", "/auth_configs", Some(config)).await;
        assert_eq!(status, 200, "{made}");
        made["data"]["id"].as_str().unwrap().to_owned()
    }

    /// Makes a link.
    pub(super) async fn link(&self, config: &str) -> Value {
        let body = json!({"authConfigId": config, "callbackUrl": Partner::REDIRECT});
        let (status, link) = self
            .send("POST", "/connected_accounts/link", Some(body))
            .await;
        assert_eq!(status, 201, "{link}");
        link
    }

    /// Makes a link and follows it, consenting as the user; the connected account's id.
    pub(super) async fn connect(&self, config: &str) -> String {
        let link = self.link(config).await;
        let page = link["redirectUrl"].as_str().unwrap();
        let landed = Browser::new().consent(page, self.user).await;
        let told: Vec<_> = landed.query_pairs().into_owned().collect();
        let id = link["connectedAccountId"].as_str().unwrap().to_owned();
        let wanted = [
            ("connectionId".to_owned(), id.clone()),
            ("status".into(), "success".into()),
        ];
        assert_eq!(told, wanted);
        id
    }
}

pub(super) fn ids(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn config_link_browser_lists_execute_refresh_and_delete() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let ada = Client {
        server: &server,
        partner: &partner,
        user: "ada",
    };
    let config = &ada.config(&sandbox, "OAUTH2").await;
    let id = ada.connect(config).await;
    for filter in [
        "",
        "?toolkitSlugs=sandbox",
        "?statuses=ACTIVE",
        "?eUIDs=ada",
        "?labels=ada@sandbox.example",
        &format!("?authConfigIds={config}"),
        &format!("?connectedAccountIds={id}"),
        "?orderBy=updatedAt&orderDirection=asc&limit=1",
    ] {
        let list = ada.get(&format!("/connected_accounts{filter}")).await;
        assert_eq!(
            (ids(&list), &list["totalItems"]),
            (vec![id.as_str()], &json!(1)),
            "{filter}"
        );
    }
    for filter in [
        "?toolkitSlugs=gmail",
        "?statuses=EXPIRED",
        "?eUIDs=bob",
        "?labels=x",
        "?authConfigIds=x",
    ] {
        let list = ada.get(&format!("/connected_accounts{filter}")).await;
        assert_eq!(
            (ids(&list).len(), &list["totalItems"]),
            (0, &json!(0)),
            "{filter}"
        );
    }
    let body = json!({"arguments": {"text": "hello"}});
    let (status, sent) = ada
        .send("POST", "/tools/execute/SANDBOX_SEND_MESSAGE", Some(body))
        .await;
    assert_eq!((status, &sent["successful"]), (201, &json!(true)), "{sent}");
    let (status, asked) = ada
        .send("POST", &format!("/connected_accounts/{id}/refresh"), None)
        .await;
    assert_eq!(status, 200, "{asked}");
    let done = partner.job(asked["data"]["jobId"].as_str().unwrap()).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(sandbox.count("token_refresh").await, 1);
    let usage = ada.get("/usage").await;
    assert_eq!(
        (&usage["total"], &usage["data"][0]["connectedAccountId"]),
        (&json!(1), &json!(id))
    );
    let (status, gone) = ada
        .send("DELETE", &format!("/connected_accounts/{id}"), None)
        .await;
    assert_eq!((status, &gone["success"]), (200, &json!(true)));
    sandbox.wait("revocations", 1).await;
    for method in ["GET", "DELETE"] {
        let (status, _) = ada
            .send(method, &format!("/connected_accounts/{id}"), None)
            .await;
        assert_eq!(status, 404);
    }
    let (status, _) = ada
        .send("DELETE", &format!("/auth_configs/{config}"), None)
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn what_is_made_on_one_side_is_seen_and_used_on_the_other() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let bob = Client {
        server: &server,
        partner: &partner,
        user: "bob",
    };
    // Made there, with the operator's client; seen and used here.
    partner.connected("bob").await;
    let list = bob.get("/connected_accounts").await;
    assert_eq!(
        (
            &list["items"][0]["status"],
            &list["items"][0]["eUID"],
            &list["items"][0]["toolkit"]["slug"]
        ),
        (&json!("ACTIVE"), &json!("bob"), &json!("sandbox"))
    );
    let (status, run) = bob
        .send(
            "POST",
            "/tools/execute/SANDBOX_GET_PROFILE",
            Some(json!({})),
        )
        .await;
    assert_eq!((status, &run["data"]["sub"]), (201, &json!("bob")), "{run}");
    // Made here, with a managed config; seen and used there.
    let ada = Client { user: "ada", ..bob };
    let managed = json!({"toolkit": {"slug": "sandbox"}, "authConfig": {"type": "use_provider_managed_auth"}});
    let (status, made) = ada.send("POST", "/auth_configs", Some(managed)).await;
    assert_eq!(status, 200, "{made}");
    let config = made["data"]["id"].as_str().unwrap();
    let id = ada.connect(config).await;
    let seen = partner
        .send("GET", "/accounts/ext:ada/integrations", None)
        .await
        .data();
    assert_eq!(seen["integrations"][0]["id"], id.as_str());
    let profile = partner
        .call("GET", "/sandbox/profile", "ada", &[], None)
        .await;
    assert_eq!(profile.data()["sub"], "ada");
    // Keys, sealed alike, for the third.
    let cleo = Client {
        user: "cleo",
        ..ada
    };
    let keys = cleo.config(&sandbox, "API_KEY").await;
    let import = json!({"authConfig": {"id": keys}, "connection": {"eUID": "cleo",
        "state": {"authScheme": "API_KEY", "val": {"api_key": "sandbox-key-cleo"}}}});
    let (status, imported) = cleo.send("POST", "/connected_accounts", Some(import)).await;
    assert_eq!(
        (status, &imported["status"]),
        (201, &json!("ACTIVE")),
        "{imported}"
    );
    let profile = partner
        .call("GET", "/sandbox/profile", "cleo", &[], None)
        .await;
    assert_eq!(profile.data()["sub"], "cleo");
    // Deleting the config takes its accounts along, on both sides.
    let (status, refused) = ada
        .send("DELETE", &format!("/auth_configs/{config}"), None)
        .await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("CONFLICT"))
    );
    let cascade = format!("/auth_configs/{config}?cascade=true");
    assert_eq!(ada.send("DELETE", &cascade, None).await.0, 200);
    let refused = partner
        .call("GET", "/sandbox/profile", "ada", &[], None)
        .await;
    assert_eq!(refused.error(404), "CONNECTION_NOT_FOUND");
    until("the grant's revocation", || async {
        (sandbox.count("revocations").await == 1).then_some(())
    })
    .await;
}
