//! Auth configs: made, listed, changed, deleted; secrets sealed and never shown.

use latchkey_domain::AuthConfigId;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::testing::{Answer, Client, SECRET, TestApi, sandbox_client, sandbox_config};

const PATH: &str = "/api/v1/auth_configs";

fn managed(slug: &str) -> Value {
    json!({"toolkit": {"slug": slug}, "authConfig": {"type": "use_provider_managed_auth"}})
}

fn keys(scheme: &str) -> Value {
    json!({"toolkit": {"slug": "sandbox"}, "authConfig": {"type": "use_custom_auth",
        "authScheme": scheme, "credentials": {"base_url": "http://127.0.0.1:9"}}})
}

fn named(answer: &Answer) -> String {
    let json = answer.json();
    let all = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
    let names = all.iter().map(|c| c["displayName"].as_str().unwrap_or("-"));
    format!(
        "{} of {}",
        names.collect::<Vec<_>>().join(" "),
        json["total"]
    )
}

async fn make(client: &Client, mut body: Value, name: &str) -> String {
    body["authConfig"]["displayName"] = name.into();
    let made = client.post(PATH, body).await;
    made.data()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_config_of_ones_own_shows_its_callback_and_never_its_secret() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let mut body = sandbox_config();
    body["authConfig"]["displayName"] = "Ours".into();
    body["authConfig"]["name"] = "ignored".into();
    body["authConfig"]["credentials"]["scopes"] = "messages.read profile".into();
    body["authConfig"]["restrictToFollowingTools"] = json!(["sandbox_get_profile"]);
    body["authConfig"]["toolAccessConfig"] =
        json!({"toolsForConnectedAccountCreation": ["SANDBOX_GET_PROFILE"]});
    let made = acme.client.post(PATH, body).await;
    let shown = made.shown();
    assert!(!shown.contains(SECRET));
    let name = made.data()["name"].as_str().unwrap().to_owned();
    assert!(
        name.starts_with("sandbox-") && name.len() == "sandbox-9qmlw6".len(),
        "{name}"
    );
    insta::assert_snapshot!(shown.replace(&name, "sandbox-<name>"), @r#"
    200 OK
    {
      "data": {
        "authScheme": "OAUTH2",
        "callbackUrl": "http://127.0.0.1:8080/api/v1/connect/callback/ac_<id>",
        "clientId": "client",
        "createdAt": "2026-11-21T20:00:00.000Z",
        "displayName": "Ours",
        "hasClientSecret": true,
        "id": "ac_<id>",
        "isDisabled": false,
        "isProviderManaged": false,
        "name": "sandbox-<name>",
        "restrictToFollowingTools": [
          "SANDBOX_GET_PROFILE"
        ],
        "scopes": [
          "messages.read",
          "profile"
        ],
        "status": "ENABLED",
        "toolkit": {
          "logo": null,
          "name": "Sandbox",
          "slug": "sandbox"
        },
        "type": "custom",
        "updatedAt": "2026-11-21T20:00:00.000Z"
      },
      "message": "Operation completed successfully",
      "success": true
    }
    "#);
    let id: AuthConfigId = made.data()["id"].as_str().unwrap().parse().unwrap();
    let got = acme.client.get(&format!("{PATH}/{id}")).await;
    assert_eq!(got.data(), made.data());
    let ctx = &api.api.ctx;
    let row = ctx
        .store
        .get_auth_config(acme.id, id)
        .await
        .unwrap()
        .unwrap();
    let sealed = row.client_secret.unwrap();
    assert!(!sealed.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
    let open = async |row: String| {
        ctx.sealer
            .open(acme.id, "auth_configs", "client_secret", &row, 0, &sealed)
            .await
    };
    assert_eq!(
        open(id.to_string()).await.unwrap().expose_secret(),
        SECRET.as_bytes()
    );
    // Moved to another row it does not open.
    assert!(open(AuthConfigId::from_u128(1).to_string()).await.is_err());
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let mut said = Vec::new();
    for (pointer, value) in [
        ("/toolkit/slug", json!("sandbx")),
        ("/authConfig/type", json!("x")),
        ("/authConfig/authScheme", json!(null)),
        ("/authConfig/authScheme", json!("OAUTH1")),
        ("/authConfig/authScheme", json!("oauth")),
        ("/authConfig/displayName", json!("n".repeat(256))),
        ("/authConfig/proxyConfig", json!({"proxyUrl": "http://x"})),
        (
            "/authConfig/restrictToFollowingTools",
            json!(["GMAIL_SEND_EMAIL"]),
        ),
        (
            "/authConfig/toolAccessConfig",
            json!({"toolsForConnectedAccountCreation": vec!["X"; 501]}),
        ),
        ("/authConfig/credentials/client_id", json!(7)),
        ("/authConfig/credentials/client_id", json!("")),
        ("/authConfig/credentials/client_id", json!(null)),
        (
            "/authConfig/credentials/client_secret",
            json!("x".repeat(4097)),
        ),
        ("/authConfig/credentials/scopes", json!([1])),
        ("/authConfig/credentials/scopes", json!(["a\"b"])),
        (
            "/authConfig/credentials/base_url",
            json!("http://127.0.0.1:5432"),
        ),
        ("/authConfig/credentials/bse_url", json!("x")),
        ("/authConfig/secret", json!("x")),
    ] {
        let mut body = sandbox_config();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
        let answer = acme.client.post(PATH, body).await;
        assert!(
            answer.json()["error"]["details"][0]["field"].is_string(),
            "{}",
            answer.shown()
        );
        said.push(answer.said());
    }
    said.push(acme.client.post(PATH, managed("sandbox")).await.said());
    let mut own = managed("sandbox");
    own["authConfig"]["credentials"] = json!({"client_id": "x"});
    said.push(acme.client.post(PATH, own).await.said());
    let mut key = keys("API_KEY");
    key["authConfig"]["credentials"]["client_id"] = "x".into();
    said.push(acme.client.post(PATH, key).await.said());
    insta::assert_snapshot!(said.join("\n"), @r#"
    INVALID_REQUEST toolkit.slug: is no toolkit of this server; GET /api/v1/toolkits lists them
    INVALID_REQUEST authConfig.type: must be use_provider_managed_auth or use_custom_auth
    INVALID_REQUEST authConfig.authScheme: is required with use_custom_auth
    INVALID_REQUEST authConfig.authScheme: is not offered for this toolkit: it takes OAUTH2, API_KEY, BASIC, BEARER_TOKEN
    INVALID_REQUEST authConfig.authScheme: is no auth scheme: it takes OAUTH2, API_KEY, BASIC, BEARER_TOKEN
    INVALID_REQUEST authConfig.displayName must be 1 to 255 characters
    INVALID_REQUEST authConfig.proxyConfig is not supported: requests go to the provider's own hosts alone
    INVALID_REQUEST authConfig.restrictToFollowingTools: 'GMAIL_SEND_EMAIL' is no tool of sandbox
    INVALID_REQUEST authConfig.toolAccessConfig.toolsForConnectedAccountCreation must be at most 500
    INVALID_REQUEST authConfig.credentials.client_id must be a text
    INVALID_REQUEST authConfig.credentials.client_id must be 1 to 4096 characters
    INVALID_REQUEST authConfig.credentials.client_id: is required
    INVALID_REQUEST authConfig.credentials.client_secret must be 1 to 4096 characters
    INVALID_REQUEST authConfig.credentials.scopes must be a text or a list of texts
    INVALID_REQUEST authConfig.credentials.scopes: 'a"b' is not a scope
    INVALID_REQUEST authConfig.credentials.base_url must be an address that the operator has registered (latchkey auth-config create)
    INVALID_REQUEST authConfig.credentials: 'bse_url' is not a parameter of this provider
    INVALID_REQUEST authConfig.secret: unknown field `secret`, expected one of `type`, `authScheme`, `name`, `displayName`, `credentials`, `proxyConfig`, `restrictToFollowingTools`, `toolAccessConfig`
    INVALID_REQUEST authConfig.type: is not possible: the operator shares no client for this toolkit; use use_custom_auth with yours
    INVALID_REQUEST authConfig.credentials: may hold scopes alone where the provider manages the client
    INVALID_REQUEST authConfig.credentials: may hold no OAuth client with this scheme; keys are given for each connected account
    "#);
}

#[tokio::test]
async fn a_managed_config_stands_on_the_operators_client() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    api.operator()
        .post("/operator/auth_configs", sandbox_client())
        .await
        .data();
    let made = acme.client.post(PATH, managed("sandbox")).await.data();
    assert_eq!(
        (
            &made["isProviderManaged"],
            &made["type"],
            &made["callbackUrl"],
            &made["clientId"]
        ),
        (&json!(true), &json!("default"), &json!(null), &json!(null))
    );
    // The other face does not take it for a client of the partner's own, and can be told to use it.
    let account = acme.account("user-1").await;
    let connect = |more: Value| {
        let (client, path) = (
            acme.client.clone(),
            format!("/api/v1/accounts/{account}/connect"),
        );
        let mut body = json!({"provider": "sandbox", "redirect_url": "https://app.example.com/cb"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        async move { client.post(&path, body).await }
    };
    assert_eq!(connect(json!({})).await.status, 200);
    assert_eq!(
        connect(json!({"auth_config_id": made["id"]})).await.status,
        200
    );
    let keyed = make(&acme.client, keys("API_KEY"), "keys").await;
    let refused = connect(json!({"auth_config_id": keyed})).await;
    assert_eq!(
        refused.said(),
        "INVALID_REQUEST auth_config_id: has no OAuth client: it is for keys"
    );
}

#[tokio::test]
async fn configs_are_listed_by_every_parameter() {
    let api = TestApi::new().await;
    let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
    make(&other.client, sandbox_config(), "theirs").await;
    make(&acme.client, sandbox_config(), "Ours").await;
    api.advance(std::time::Duration::from_millis(1));
    let gmail = json!({"toolkit": {"slug": "gmail"}, "authConfig": {"type": "use_custom_auth",
        "authScheme": "OAUTH2", "credentials": {"client_id": "c", "client_secret": "s"}}});
    make(&acme.client, gmail, "Mail").await;
    api.advance(std::time::Duration::from_millis(1));
    let off = make(&acme.client, keys("BASIC"), "Off").await;
    let status = format!("{PATH}/{off}/status");
    let set = acme
        .client
        .patch(&status, json!({"status": "disabled"}))
        .await
        .data();
    assert_eq!(
        (&set["status"], &set["isDisabled"]),
        (&json!("DISABLED"), &json!(true))
    );
    let mut seen = Vec::new();
    for query in [
        "",
        "showDisabled=true",
        "showDisabled=True&sortOrder=asc",
        "deprecatedStatus=DISABLED",
        "toolkitSlug=gmail",
        "toolkitSlug=gmail,sandbox",
        "toolkitSlug=gmail&toolkitSlug=sandbox",
        "search=our",
        "q=gmail",
        "sortBy=name",
        "sortBy=updatedAt&sortOrder=ASC",
        "limit=1",
        "page=2&limit=1",
        "offset=1",
        "fields=id,name",
        "provider=flowra",
        "deprecatedAppId=x",
        "cursor=eyJwYWdlIjoyLCJsaW1pdCI6MX0=",
    ] {
        seen.push(format!(
            "{query}: {}",
            named(&acme.client.get(&format!("{PATH}?{query}")).await)
        ));
    }
    insta::assert_snapshot!(seen.join("\n"), @r"
    : Mail Ours of 2
    showDisabled=true: Off Mail Ours of 3
    showDisabled=True&sortOrder=asc: Ours Mail Off of 3
    deprecatedStatus=DISABLED: Off of 1
    toolkitSlug=gmail: Mail of 1
    toolkitSlug=gmail,sandbox: Mail Ours of 2
    toolkitSlug=gmail&toolkitSlug=sandbox: Mail Ours of 2
    search=our: Ours of 1
    q=gmail: Mail of 1
    sortBy=name: Ours Mail of 2
    sortBy=updatedAt&sortOrder=ASC: Ours Mail of 2
    limit=1: Mail of 2
    page=2&limit=1: Ours of 2
    offset=1: Ours of 2
    fields=id,name: Mail Ours of 2
    provider=flowra: Mail Ours of 2
    deprecatedAppId=x: Mail Ours of 2
    cursor=eyJwYWdlIjoyLCJsaW1pdCI6MX0=: Ours of 2
    ");
}

#[tokio::test]
async fn wrong_parameters_of_the_list_are_named() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let mut said = Vec::new();
    for query in [
        "limit=0",
        "sortOrder=up",
        "showDisabled=x",
        "provider=x",
        "foo=1",
        "page=1&page=2",
    ] {
        said.push(acme.client.get(&format!("{PATH}?{query}")).await.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    INVALID_REQUEST limit must be a whole number from 1 to 100
    INVALID_REQUEST sortOrder must be one of DESC, ASC
    INVALID_REQUEST showDisabled must be true or false
    INVALID_REQUEST provider must be one of composio, flowra, local
    INVALID_REQUEST foo is not a parameter of this list; it takes q, search, deprecatedStatus, showDisabled, fields, provider, deprecatedAppId, toolkitSlug, sortBy, sortOrder, page, limit, cursor, offset
    INVALID_REQUEST page is given twice
    ");
}

#[tokio::test]
async fn a_config_changes_and_switches() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let id = make(&acme.client, sandbox_config(), "Ours").await;
    let path = format!("{PATH}/{id}");
    let change = async |body: Value| acme.client.patch(&path, body).await;
    let changed = change(
        json!({"displayName": null, "credentials": {"client_secret": "new",
        "scopes": ["messages.read"]}, "restrictToFollowingTools": ["SANDBOX_GET_PROFILE"]}),
    )
    .await
    .data();
    assert_eq!(changed["displayName"], json!(null));
    assert_eq!(changed["scopes"], json!(["messages.read"]));
    assert_eq!(
        changed["restrictToFollowingTools"],
        json!(["SANDBOX_GET_PROFILE"])
    );
    let row = api
        .api
        .ctx
        .store
        .get_auth_config(acme.id, id.parse().unwrap())
        .await
        .unwrap();
    let (row, sealer) = (row.unwrap(), &api.api.ctx.sealer);
    let sealed = row.client_secret.unwrap();
    let opened = sealer
        .open(acme.id, "auth_configs", "client_secret", &id, 0, &sealed)
        .await;
    assert_eq!(
        (opened.unwrap().expose_secret(), row.version),
        (&b"new"[..], 1)
    );
    let mut said = Vec::new();
    for body in [
        json!({"type": "default"}),
        json!({"displayName": ""}),
        json!({"credentials": {"base_url": "http://127.0.0.1:5432"}}),
        json!({"restrictToFollowingTools": ["X"]}),
        json!({"name": "x"}),
    ] {
        said.push(change(body).await.said());
    }
    said.push(
        acme.client
            .patch(&format!("{path}/status"), json!({"status": "x"}))
            .await
            .said(),
    );
    insta::assert_snapshot!(said.join("\n"), @r"
    INVALID_REQUEST type cannot be changed: it is custom
    INVALID_REQUEST displayName must be 1 to 255 characters
    INVALID_REQUEST credentials.base_url must be an address that the operator has registered (latchkey auth-config create)
    INVALID_REQUEST restrictToFollowingTools: 'X' is no tool of sandbox
    INVALID_REQUEST name: unknown field `name`, expected one of `type`, `displayName`, `credentials`, `restrictToFollowingTools`, `toolAccessConfig`
    INVALID_REQUEST status: must be ENABLED or DISABLED
    ");
    // Without a body it becomes what it is not.
    for wanted in ["DISABLED", "ENABLED"] {
        let flipped = acme
            .client
            .send(http::Method::PATCH, &format!("{path}/status"), "")
            .await;
        assert_eq!(flipped.data()["status"], wanted);
    }
}

#[tokio::test]
async fn deleting_is_refused_while_accounts_are_connected_or_takes_them_along() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let account = acme.account("user-1").await;
    let connection = api.connection(&acme, &account).await;
    let path = format!("{PATH}/{}", connection.row.auth_config_id);
    let refused = acme.client.delete(&path).await;
    assert_eq!(
        refused.said(),
        "CONFLICT 1 accounts are connected with this auth config. Delete them first, or all at once with \
         ?cascade=true, or disable the config."
    );
    assert_eq!(
        acme.client
            .delete(&format!("{path}?cascade=x"))
            .await
            .code(),
        "INVALID_REQUEST"
    );
    let link = json!({"authConfigId": connection.row.auth_config_id});
    let link = acme
        .client
        .post("/api/v1/connected_accounts/link", link)
        .await
        .json();
    let gone = acme.client.delete(&format!("{path}?cascade=true")).await;
    assert_eq!(gone.json()["success"], true);
    for id in [
        connection.row.id.to_string(),
        link["connectedAccountId"].as_str().unwrap().to_owned(),
    ] {
        let left = acme
            .client
            .get(&format!("/api/v1/connected_accounts/{id}"))
            .await;
        assert_eq!(left.code(), "NOT_FOUND");
    }
    assert_eq!(acme.client.get(&path).await.code(), "NOT_FOUND");
    assert_eq!(acme.client.delete(&path).await.code(), "NOT_FOUND");
    let jobs = acme.client.get("/api/v1/jobs").await.data();
    assert_eq!(
        (&jobs["total"], &jobs["jobs"][0]["kind"]),
        (&json!(1), &json!("revoke_grant"))
    );
    // The client stays until the grant is revoked, and goes then.
    let store = &api.api.ctx.store;
    assert_eq!(store.purge_auth_configs(10).await.unwrap(), 0);
    let key = connection.grant.key();
    store
        .forget_grant(key, connection.grant.version, api.api.ctx.now())
        .await
        .unwrap();
    assert_eq!(store.purge_auth_configs(10).await.unwrap(), 1);
    // One that nobody uses goes at once.
    let free = make(&acme.client, sandbox_config(), "free").await;
    assert_eq!(
        acme.client.delete(&format!("{PATH}/{free}")).await.status,
        200
    );
    assert_eq!(acme.client.get(PATH).await.json()["total"], 0);
}
