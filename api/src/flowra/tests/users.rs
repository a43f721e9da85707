//! Keys, external users, and who acts.

use serde_json::json;

use crate::testing::{Answer, TestApi};

const USERS: &str = "/api/v1/external-users";

fn names(answer: &Answer) -> String {
    let json = answer.json();
    let all = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
    let names: Vec<_> = all
        .iter()
        .map(|user| user["name"].as_str().unwrap())
        .collect();
    names.join(" ")
}

#[tokio::test]
async fn either_header_carries_the_key_and_refusals_have_flowras_shape() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let list = "/api/v1/connected_accounts";
    let by_key = api.anyone().with("x-api-key", &acme.key);
    assert_eq!(by_key.get(list).await.status, 200);
    assert_eq!(acme.client.get(list).await.status, 200);
    insta::assert_snapshot!(api.anyone().get(list).await.shown(), @r#"
    401 Unauthorized
    {
      "error": {
        "code": "UNAUTHORIZED",
        "message": "Invalid or missing API key. Send it as `Authorization: Bearer sk_live_…` or as `x-api-key`.",
        "requestId": "req_<id>",
        "status": 401
      },
      "message": "Invalid or missing API key. Send it as `Authorization: Bearer sk_live_…` or as `x-api-key`."
    }
    "#);
    insta::assert_snapshot!(by_key.get(&format!("{list}?limit=0&foo=1")).await.shown(), @r#"
    400 Bad Request
    {
      "error": {
        "code": "INVALID_REQUEST",
        "details": [
          {
            "field": "limit",
            "problem": "must be a whole number from 1 to 100"
          },
          {
            "field": "foo",
            "problem": "is not a parameter of this list; it takes statuses, connectedAccountIds, labels, authConfigIds, toolkitSlugs, eUIDs, orderBy, orderDirection, cursor, limit"
          }
        ],
        "message": "limit must be a whole number from 1 to 100 (and 1 more; see details)",
        "requestId": "req_<id>",
        "status": 400
      },
      "message": "limit must be a whole number from 1 to 100 (and 1 more; see details)"
    }
    "#);
}

#[tokio::test]
async fn a_named_user_is_made_on_first_use_and_refused_while_inactive() {
    let api = TestApi::new().await;
    let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
    let list = "/api/v1/connected_accounts";
    let ada = acme.client.with("x-username", "ada@example.com");
    assert_eq!(ada.get(list).await.status, 200);
    assert_eq!(ada.get(list).await.status, 200);
    let found = |name: &str| {
        let (client, path) = (acme.client.clone(), format!("{USERS}/username/{name}"));
        async move { client.get(&path).await.data() }
    };
    let user = found("ada@example.com").await;
    assert_eq!(
        (&user["isActive"], &user["source"]),
        (&json!(true), &json!("username"))
    );
    assert_eq!(found("nobody").await, json!(null));
    let theirs = other
        .client
        .get(&format!("{USERS}/username/ada@example.com"))
        .await;
    assert_eq!(theirs.data(), json!(null));
    // The other face knows the user as an account.
    let account = acme
        .client
        .get("/api/v1/accounts?external_id=ada@example.com")
        .await
        .data();
    assert_eq!(account["accounts"][0]["id"], user["id"]);
    let toggle = format!("{USERS}/{}/toggle-active", user["id"].as_str().unwrap());
    assert_eq!(
        acme.client.put(&toggle, json!({})).await.data()["isActive"],
        false
    );
    let refused = ada.get(list).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (403, "USER_INACTIVE")
    );
    assert_eq!(
        acme.client.put(&toggle, json!({})).await.data()["isActive"],
        true
    );
    assert_eq!(ada.get(list).await.status, 200);
    for name in ["", "a b", "é", "a/b", &"x".repeat(256)] {
        let refused = acme.client.with("x-username", name).get(list).await;
        assert_eq!(refused.code(), "INVALID_REQUEST", "{name}");
        assert_eq!(refused.json()["error"]["details"][0]["field"], "x-username");
    }
}

#[tokio::test]
async fn users_are_listed_by_every_parameter() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    for name in ["ada", "bob", "project_default_user"] {
        let made = acme.client.post(USERS, json!({"name": name})).await;
        assert_eq!(made.status, 201, "{}", made.shown());
        api.advance(std::time::Duration::from_secs(60));
    }
    let again = acme.client.post(USERS, json!({"name": "ada"})).await;
    assert_eq!(again.code(), "ALREADY_EXISTS");
    let bob = acme
        .client
        .get(&format!("{USERS}/username/bob"))
        .await
        .data();
    let path = format!("{USERS}/{}/toggle-active", bob["id"].as_str().unwrap());
    acme.client.put(&path, json!({})).await.data();
    let mut seen = Vec::new();
    for query in [
        "",
        "q=AD",
        "isActive=false",
        "isActive=TRUE",
        "source=project_default",
        "source=username",
        "source=username,project_default",
        "source=embed_visitor",
        "channel=web",
        "activeEuid=bob",
        "sortBy=name&sortOrder=desc",
        "sortBy=updatedAt&sortOrder=DESC",
        "from=2026-11-21T20:01:00Z",
        "to=2026-11-21T20:01:00Z",
        "limit=2",
        "limit=2&page=2",
        "offset=1&limit=1",
        "cursor=eyJwYWdlIjoyLCJsaW1pdCI6Mn0=",
    ] {
        let answer = acme.client.get(&format!("{USERS}?{query}")).await;
        seen.push(format!(
            "{query}: {} of {}",
            names(&answer),
            answer.json()["total"]
        ));
    }
    insta::assert_snapshot!(seen.join("\n"), @r"
    : ada bob project_default_user of 3
    q=AD: ada of 1
    isActive=false: bob of 1
    isActive=TRUE: ada project_default_user of 2
    source=project_default: project_default_user of 1
    source=username: ada bob of 2
    source=username,project_default: ada bob project_default_user of 3
    source=embed_visitor:  of 0
    channel=web:  of 0
    activeEuid=bob: bob of 1
    sortBy=name&sortOrder=desc: project_default_user bob ada of 3
    sortBy=updatedAt&sortOrder=DESC: bob project_default_user ada of 3
    from=2026-11-21T20:01:00Z: bob project_default_user of 2
    to=2026-11-21T20:01:00Z: ada of 1
    limit=2: ada bob of 3
    limit=2&page=2: project_default_user of 3
    offset=1&limit=1: bob of 3
    cursor=eyJwYWdlIjoyLCJsaW1pdCI6Mn0=: project_default_user of 3
    ");
}

#[tokio::test]
async fn wrong_parameters_are_named_and_the_default_user_stays() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    acme.account("project_default_user").await;
    let mut said = Vec::new();
    for query in [
        "source=x",
        "isActive=maybe",
        "sortBy=x",
        "limit=101",
        "page=0",
        "from=x",
        "cursor=x",
        "a=1",
    ] {
        said.push(acme.client.get(&format!("{USERS}?{query}")).await.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    INVALID_REQUEST source must be some of project_default, username, embed_visitor, trigger_thread
    INVALID_REQUEST isActive must be true or false
    INVALID_REQUEST sortBy must be one of createdAt, updatedAt, name
    INVALID_REQUEST limit must be a whole number from 1 to 100
    INVALID_REQUEST page must be a whole number from 1 to 1000000
    INVALID_REQUEST from must be a time such as 2026-11-21T20:00:00Z, or a date
    INVALID_REQUEST cursor is not one that this list gave out
    INVALID_REQUEST a is not a parameter of this list; it takes channel, source, q, activeEuid, isActive, sortBy, sortOrder, from, to, page, limit, cursor, offset
    ");
    let default = acme
        .client
        .get(&format!("{USERS}/username/project_default_user"))
        .await
        .data();
    let path = format!("{USERS}/{}/toggle-active", default["id"].as_str().unwrap());
    assert_eq!(acme.client.put(&path, json!({})).await.code(), "CONFLICT");
}
