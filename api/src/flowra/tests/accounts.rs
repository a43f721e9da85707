//! Connected accounts: linked, imported, listed, named, switched, refreshed, deleted; and the same rows on the
//! other face.

use latchkey_sandbox::Counter;
use serde_json::{Value, json};

use crate::{
    testing::{Answer, Client},
    walking::{Link, REDIRECT, Walk, landing},
};

pub(super) const PATH: &str = "/api/v1/connected_accounts";

/// A client that acts for this user.
pub(super) fn acting(walk: &Walk, user: &str) -> Client {
    walk.partner.client.with("x-username", user)
}

/// A link for this user.
pub(super) async fn link(walk: &Walk, user: &str, config: &str) -> (Link, Value) {
    let body = json!({"authConfigId": config, "callbackUrl": REDIRECT});
    let made = acting(walk, user).post(&format!("{PATH}/link"), body).await;
    assert_eq!(made.status, 201, "{}", made.shown());
    let json = made.json();
    let url = url::Url::parse(json["redirectUrl"].as_str().unwrap()).unwrap();
    let link = Link {
        page: url.path().to_owned(),
        session: String::new(),
        status: String::new(),
    };
    (link, json)
}

/// Connects this user by a link; the account's id.
pub(super) async fn connected(walk: &Walk, user: &str) -> String {
    let (link, made) = link(walk, user, &walk.auth_config).await;
    let landed = walk.browser().connect(&link, user).await;
    assert_eq!(landed["status"], "success", "{landed:?}");
    assert_eq!(
        landed["connectionId"],
        made["connectedAccountId"].as_str().unwrap()
    );
    landed["connectionId"].clone()
}

fn ids(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let items = json["items"].as_array().unwrap_or_else(|| panic!("{json}"));
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_link_leads_to_a_connected_account_that_both_faces_use() {
    let walk = Walk::new().await;
    let (link, made) = link(&walk, "ada", &walk.auth_config).await;
    assert_eq!(made["expiresAt"], "2026-11-21T20:10:00.000Z");
    let id = made["connectedAccountId"].as_str().unwrap();
    let one = format!("{PATH}/{id}");
    let client = &walk.partner.client;
    let status = async || client.get(&one).await.json()["status"].clone();
    assert_eq!(status().await, "INITIALIZING");
    let mut browser = walk.browser();
    let authorize = browser.reach_provider(&link).await;
    assert_eq!(status().await, "INITIATED");
    let back = browser.decide(&authorize, "ada", "allow").await;
    let landed = landing(&browser.open(&back).await);
    assert_eq!(landed["status"], "success");
    assert_eq!(landed["connectionId"], id);
    assert_eq!(landed.len(), 2, "{landed:?}");
    let shown = client.get(&one).await.shown();
    insta::assert_snapshot!(shown, @r#"
    200 OK
    {
      "authConfig": {
        "authScheme": "OAUTH2",
        "deprecated": {
          "uuid": "ac_<id>"
        },
        "id": "ac_<id>",
        "isDisabled": false,
        "isProviderManaged": false
      },
      "createdAt": "2026-11-21T20:00:00.000Z",
      "data": {},
      "deprecated": {
        "labels": [
          "ada@sandbox.example"
        ],
        "uuid": "<uuid>"
      },
      "displayName": null,
      "eUID": "ada",
      "id": "<uuid>",
      "isDisabled": false,
      "label": "ada@sandbox.example",
      "params": {},
      "state": {
        "authScheme": "OAUTH2",
        "val": {
          "access_token": "REDACTED",
          "expired_at": "2026-11-21T21:00:00.000Z",
          "refresh_token": "REDACTED",
          "scope": "profile messages.read messages.write",
          "status": "ACTIVE"
        }
      },
      "status": "ACTIVE",
      "toolkit": {
        "logo": null,
        "name": "Sandbox",
        "slug": "sandbox"
      },
      "updatedAt": "2026-11-21T20:00:00.000Z"
    }
    "#);
    // Seen and used on the other face.
    let seen = client
        .get("/api/v1/accounts/ext:ada/integrations")
        .await
        .data();
    assert_eq!(seen["integrations"][0]["id"], id);
    let profile = walk.calling("ada").get("/api/v1/sandbox/profile").await;
    assert_eq!(profile.data()["sub"], "ada");
    // Deleted here, gone there.
    assert_eq!(client.delete(&one).await.json()["success"], true);
    assert_eq!(client.get(&one).await.code(), "NOT_FOUND");
    assert_eq!(client.delete(&one).await.code(), "NOT_FOUND");
    let gone = walk.calling("ada").get("/api/v1/sandbox/profile").await;
    assert_eq!(gone.code(), "CONNECTION_NOT_FOUND");
    assert_eq!(acting(&walk, "ada").get(PATH).await.json()["totalItems"], 0);
}

#[tokio::test]
async fn what_was_connected_on_the_other_face_is_listed_and_run() {
    let walk = Walk::new().await;
    walk.connected("bob").await;
    let theirs = acting(&walk, "bob").get(PATH).await;
    assert_eq!(theirs.json()["items"][0]["eUID"], "bob");
    assert_eq!(theirs.json()["items"][0]["status"], "ACTIVE");
    let run = acting(&walk, "bob")
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(run.json()["data"]["sub"], "bob", "{}", run.shown());
}

#[tokio::test]
async fn a_denied_link_is_failed_and_connecting_again_keeps_the_older_id() {
    let walk = Walk::new().await;
    let (denied, made) = link(&walk, "ada", &walk.auth_config).await;
    let mut browser = walk.browser();
    let authorize = browser.reach_provider(&denied).await;
    let back = browser.decide(&authorize, "ada", "deny").await;
    let landed = landing(&browser.open(&back).await);
    assert_eq!(
        (landed["status"].as_str(), landed["error"].as_str()),
        ("failed", "access_denied")
    );
    let failed = format!("{PATH}/{}", made["connectedAccountId"].as_str().unwrap());
    let seen = walk.partner.client.get(&failed).await.json();
    assert_eq!(
        (&seen["status"], &seen["statusReason"]),
        (&json!("FAILED"), &json!("access_denied"))
    );
    let first = connected(&walk, "ada").await;
    let (again, made) = link(&walk, "ada", &walk.auth_config).await;
    let landed = walk.browser().connect(&again, "ada").await;
    assert_eq!(landed["connectionId"], first);
    // What was announced leads to it.
    let announced = format!("{PATH}/{}", made["connectedAccountId"].as_str().unwrap());
    assert_eq!(
        walk.partner.client.get(&announced).await.json()["id"],
        first.as_str()
    );
    let listed = walk.partner.client.get(PATH).await;
    assert_eq!(listed.json()["totalItems"], 2, "{}", listed.shown());
    assert_eq!(walk.partner.client.delete(&failed).await.status, 200);
    assert_eq!(ids(&walk.partner.client.get(PATH).await), [first]);
}

#[tokio::test]
async fn links_are_refused_by_name() {
    let walk = Walk::new().await;
    let other = walk.api.partner("Other").await;
    let theirs = walk.api.auth_config(&other).await;
    let mut said = Vec::new();
    for more in [
        json!({"authConfigId": "ac_x"}),
        json!({"authConfigId": theirs}),
        json!({"callbackUrl": "https://evil.example/"}),
        json!({"callbackUrl": "javascript:alert(1)"}),
        json!({"connectionData": {"shop": "x"}}),
        json!({"connectionData": "x"}),
        json!({"toolkit": "sandbox"}),
    ] {
        let mut body = json!({"authConfigId": walk.auth_config, "callbackUrl": REDIRECT});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = walk
            .partner
            .client
            .post(&format!("{PATH}/link"), body)
            .await;
        assert!(
            answer.json()["error"]["details"][0]["field"].is_string(),
            "{}",
            answer.shown()
        );
        said.push(answer.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    NOT_FOUND There is no such auth config.
    NOT_FOUND There is no such auth config.
    INVALID_REQUEST callbackUrl: is not one of your registered redirect URLs (PUT /api/v1/partner/redirect_urls)
    INVALID_REQUEST callbackUrl: must begin with https://
    INVALID_REQUEST connectionData.shop: is not asked for: this toolkit takes nothing
    INVALID_REQUEST connectionData: invalid type: string "x", expected a map
    INVALID_REQUEST toolkit: unknown field `toolkit`, expected one of `authConfigId`, `callbackUrl`, `connectionData`
    "#);
    let off = format!("/api/v1/auth_configs/{}/status", walk.auth_config);
    walk.partner
        .client
        .patch(&off, json!({"status": "DISABLED"}))
        .await
        .data();
    let body = json!({"authConfigId": walk.auth_config});
    let refused = walk
        .partner
        .client
        .post(&format!("{PATH}/link"), body)
        .await;
    assert_eq!(refused.code(), "CONFLICT");
}

#[tokio::test]
async fn lists_take_every_filter_order_and_case() {
    let walk = Walk::new().await;
    let ada = connected(&walk, "ada").await;
    walk.api.advance(std::time::Duration::from_secs(1));
    let bob = connected(&walk, "bob").await;
    walk.api.advance(std::time::Duration::from_secs(1));
    let (_, open) = link(&walk, "bob", &walk.auth_config).await;
    let open = open["connectedAccountId"].as_str().unwrap().to_owned();
    let named = |id: &String| match id {
        id if *id == ada => "ada",
        id if *id == bob => "bob",
        id if *id == open => "open",
        _ => "?",
    };
    let config = &walk.auth_config;
    let mut seen = Vec::new();
    for query in [
        String::new(),
        "toolkitSlugs=sandbox".to_owned(),
        "toolkitSlugs=gmail".to_owned(),
        "toolkitSlugs[]=gmail&toolkitSlugs[]=Sandbox".to_owned(),
        "statuses=ACTIVE".to_owned(),
        "statuses=active,initializing".to_owned(),
        "statuses=EXPIRED&statuses=REVOKED".to_owned(),
        "eUIDs=ada".to_owned(),
        "eUIDs=ada,bob,nobody".to_owned(),
        "eUIDs=nobody".to_owned(),
        format!("authConfigIds={config}"),
        "authConfigIds=ac_x".to_owned(),
        format!("connectedAccountIds={ada},{open},x"),
        "labels=ada@sandbox.example".to_owned(),
        "labels=nobody".to_owned(),
        "orderBy=createdAt&orderDirection=asc".to_owned(),
        "orderBy=updatedAt&orderDirection=DESC".to_owned(),
        "eUIDs=bob&statuses=ACTIVE&toolkitSlugs=sandbox".to_owned(),
        "limit=1".to_owned(),
    ] {
        let answer = walk.partner.client.get(&format!("{PATH}?{query}")).await;
        let found: Vec<_> = ids(&answer).iter().map(named).collect();
        let json = answer.json();
        let query = query
            .replace(config, "<config>")
            .replace(&ada, "<ada>")
            .replace(&open, "<open>");
        seen.push(format!(
            "{query}: {} ({} on {} pages, more: {})",
            found.join(" "),
            json["totalItems"],
            json["totalPages"],
            json["nextCursor"].is_string()
        ));
    }
    insta::assert_snapshot!(seen.join("\n"), @r"
    : open bob ada (3 on 1 pages, more: false)
    toolkitSlugs=sandbox: open bob ada (3 on 1 pages, more: false)
    toolkitSlugs=gmail:  (0 on 0 pages, more: false)
    toolkitSlugs[]=gmail&toolkitSlugs[]=Sandbox: open bob ada (3 on 1 pages, more: false)
    statuses=ACTIVE: bob ada (2 on 1 pages, more: false)
    statuses=active,initializing: open bob ada (3 on 1 pages, more: false)
    statuses=EXPIRED&statuses=REVOKED:  (0 on 0 pages, more: false)
    eUIDs=ada: ada (1 on 1 pages, more: false)
    eUIDs=ada,bob,nobody: open bob ada (3 on 1 pages, more: false)
    eUIDs=nobody:  (0 on 0 pages, more: false)
    authConfigIds=<config>: open bob ada (3 on 1 pages, more: false)
    authConfigIds=ac_x:  (0 on 0 pages, more: false)
    connectedAccountIds=<ada>,<open>,x: open ada (2 on 1 pages, more: false)
    labels=ada@sandbox.example: ada (1 on 1 pages, more: false)
    labels=nobody:  (0 on 0 pages, more: false)
    orderBy=createdAt&orderDirection=asc: ada bob open (3 on 1 pages, more: false)
    orderBy=updatedAt&orderDirection=DESC: open bob ada (3 on 1 pages, more: false)
    eUIDs=bob&statuses=ACTIVE&toolkitSlugs=sandbox: bob (1 on 1 pages, more: false)
    limit=1: open (3 on 3 pages, more: true)
    ");
}

#[tokio::test]
async fn wrong_parameters_of_the_list_are_named() {
    let walk = Walk::new().await;
    let mut said = Vec::new();
    for query in [
        "statuses=DONE",
        "orderBy=name",
        "orderDirection=up",
        "limit=101",
        "limit=x",
        "cursor=abc",
        "page=2",
        &format!("labels={}", "x".repeat(256)),
        &format!("eUIDs={}", vec!["a"; 101].join(",")),
    ] {
        said.push(
            walk.partner
                .client
                .get(&format!("{PATH}?{query}"))
                .await
                .said(),
        );
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    INVALID_REQUEST statuses must be some of INITIALIZING, INITIATED, ACTIVE, FAILED, EXPIRED, INACTIVE, REVOKED
    INVALID_REQUEST orderBy must be one of createdAt, updatedAt
    INVALID_REQUEST orderDirection must be one of desc, asc
    INVALID_REQUEST limit must be a whole number from 1 to 100
    INVALID_REQUEST limit must be a whole number from 1 to 100
    INVALID_REQUEST cursor: is not one that this list gave out: cursors go with the filters and the order they came with
    INVALID_REQUEST page is not a parameter of this list; it takes statuses, connectedAccountIds, labels, authConfigIds, toolkitSlugs, eUIDs, orderBy, orderDirection, cursor, limit
    INVALID_REQUEST labels must hold values of at most 255 characters, without control characters
    INVALID_REQUEST eUIDs must be at most 100 values
    ");
}

#[tokio::test]
async fn a_named_user_sees_its_own_alone() {
    let walk = Walk::new().await;
    let ada = connected(&walk, "ada").await;
    let bob = connected(&walk, "bob").await;
    link(&walk, "bob", &walk.auth_config).await;
    // Acting as a user shows that user's alone, and nothing of another's by id.
    assert_eq!(
        ids(&acting(&walk, "ada").get(PATH).await),
        std::slice::from_ref(&ada)
    );
    let hidden = acting(&walk, "ada").get(&format!("{PATH}/{bob}")).await;
    assert_eq!(hidden.code(), "NOT_FOUND");
    let grouped = acting(&walk, "bob")
        .get(&format!("{PATH}/grouped-by-toolkit"))
        .await
        .json();
    assert_eq!(
        (
            &grouped["totalConnections"],
            &grouped["externalUser"]["name"]
        ),
        (&json!(2), &json!("bob"))
    );
    assert_eq!(grouped["groups"][0]["toolkit"]["slug"], "sandbox");
    let path = format!("{PATH}/grouped-by-toolkit?eUID=ada&q=ADA&limit=500");
    let grouped = walk.partner.client.get(&path).await.json();
    assert_eq!(grouped["groups"][0]["connections"][0]["id"], ada.as_str());
}

#[tokio::test]
async fn accounts_are_named_switched_refreshed_and_linked_again() {
    let walk = Walk::new().await;
    let id = connected(&walk, "ada").await;
    let one = format!("{PATH}/{id}");
    let client = &walk.partner.client;
    let named = client
        .patch(&one, json!({"displayName": "Ada's"}))
        .await
        .json();
    assert_eq!(
        (&named["displayName"], &named["label"]),
        (&json!("Ada's"), &json!("Ada's"))
    );
    assert_eq!(
        client.patch(&one, json!({})).await.json()["displayName"],
        "Ada's"
    );
    let cleared = client
        .patch(&one, json!({"displayName": null}))
        .await
        .json();
    assert_eq!(
        (&cleared["displayName"], &cleared["label"]),
        (&json!(null), &json!("ada@sandbox.example"))
    );
    let long = client
        .patch(&one, json!({"displayName": "x".repeat(121)}))
        .await;
    assert_eq!(
        long.said(),
        "INVALID_REQUEST displayName must be 1 to 120 characters"
    );
    let status = format!("{one}/status");
    let off = client
        .patch(&status, json!({"enabled": false}))
        .await
        .json();
    assert_eq!(
        (&off["status"], &off["isDisabled"]),
        (&json!("INACTIVE"), &json!(true))
    );
    let run = acting(&walk, "ada")
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(run.code(), "SERVICE_DISABLED");
    assert_eq!(
        client.patch(&status, json!({"enabled": true})).await.json()["status"],
        "ACTIVE"
    );
    let refresh = format!("{one}/refresh");
    let asked = client.post(&refresh, json!({})).await.data();
    assert_eq!(
        walk.job(asked["jobId"].as_str().unwrap()).await["status"],
        "completed"
    );
    assert_eq!(walk.count(Counter::TokenRefresh), 1);
    // The provider ends the grant: the next refresh says so, and then only the user helps.
    walk.sandbox.revoke_all(None);
    let asked = client.post(&refresh, json!({})).await.data();
    walk.job(asked["jobId"].as_str().unwrap()).await;
    let lost = client.get(&one).await.json();
    assert_eq!(
        (&lost["status"], &lost["statusReason"]),
        (&json!("REVOKED"), &json!("invalid_grant"))
    );
    let asked = client.post(&refresh, json!({})).await.data();
    assert_eq!(
        (&asked["jobId"], &asked["status"]),
        (&json!(null), &json!("REVOKED"))
    );
    let page = url::Url::parse(asked["redirectUrl"].as_str().unwrap()).unwrap();
    assert_eq!(walk.api.anyone().get(page.path()).await.status, 200);
    let run = acting(&walk, "ada")
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(run.code(), "NEEDS_REAUTH");
}
