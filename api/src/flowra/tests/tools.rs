//! Toolkits, tools, their execution, and usage.

use serde_json::{Value, json};

use super::{
    accounts::{acting, connected},
    imports::config_of,
};
use crate::{
    flowra::tool,
    testing::{Answer, TestApi},
    walking::Walk,
};

fn slugs(answer: &Answer) -> String {
    let json = answer.json();
    let all = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
    let slugs: Vec<_> = all
        .iter()
        .map(|one| one["slug"].as_str().unwrap())
        .collect();
    format!("{} of {}", slugs.join(" "), json["total"])
}

#[tokio::test]
async fn toolkits_are_services_by_every_parameter() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let gmail = acme.client.get("/api/v1/toolkits/gmail").await.data();
    assert_eq!(
        (&gmail["name"], &gmail["authSchemes"]),
        (&json!("Gmail"), &json!(["OAUTH2"]))
    );
    assert_eq!(
        acme.client.get("/api/v1/toolkits/byId/gmail").await.data(),
        gmail
    );
    let sandbox = acme.client.get("/api/v1/toolkits/sandbox").await.data();
    assert_eq!(
        sandbox["authSchemes"],
        json!(["OAUTH2", "API_KEY", "BASIC", "BEARER_TOKEN"])
    );
    assert_eq!(
        sandbox["authConfigDetails"][0]["fields"]["authConfigCreation"]["required"][0]["name"],
        "client_id"
    );
    assert_eq!(
        acme.client.get("/api/v1/toolkits/nope").await.code(),
        "NOT_FOUND"
    );
    assert_eq!(
        acme.client.get("/api/v1/toolkits/categories").await.data(),
        json!([])
    );
    api.auth_config(&acme).await;
    let list = async |query: &str| acme.client.get(&format!("/api/v1/toolkits?{query}")).await;
    for (query, wanted) in [
        ("slugs=gmail,sandbox", "gmail sandbox of 2"),
        ("q=GMAIL%20google", "gmail of 1"),
        ("search=sandbox", "sandbox of 1"),
        ("scope=mine", "sandbox of 1"),
        (
            "slugs=gmail,sandbox&sortBy=slug&sortOrder=DESC",
            "sandbox gmail of 2",
        ),
        ("slugs=gmail,sandbox&limit=1&page=2", "sandbox of 2"),
        ("slugs=gmail,sandbox&offset=1", "sandbox of 2"),
        (
            "slugs=gmail,sandbox&cursor=eyJwYWdlIjoyLCJsaW1pdCI6MX0=",
            "sandbox of 2",
        ),
        ("category=crm", " of 0"),
        ("requiresAuth=false", " of 0"),
        (
            "slugs=gmail&requiresAuth=true&authConfigCreatable=true&region=eu&regionMatch=exact&fields=id",
            "gmail of 1",
        ),
    ] {
        assert_eq!(slugs(&list(query).await), wanted, "{query}");
    }
    for query in ["limit=101", "sortBy=x", "foo=1", "scope=x"] {
        assert_eq!(list(query).await.code(), "INVALID_REQUEST", "{query}");
    }
}

#[tokio::test]
async fn tools_are_endpoints_by_every_parameter() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let config = api.auth_config(&acme).await;
    let send = acme
        .client
        .get("/api/v1/tools/byId/gmail_send_email")
        .await
        .data();
    assert_eq!(send["slug"], "GMAIL_SEND_EMAIL");
    let required = send["inputParameters"]["required"].as_array().unwrap();
    for name in ["recipient_email", "subject", "body"] {
        assert!(required.contains(&name.into()), "{name}");
    }
    assert_eq!(
        acme.client.get("/api/v1/tools/byId/NOPE").await.code(),
        "NOT_FOUND"
    );
    let list = async |query: &str| acme.client.get(&format!("/api/v1/tools?{query}")).await;
    let sandbox =
        "SANDBOX_GET_MESSAGE SANDBOX_GET_PROFILE SANDBOX_LIST_MESSAGES SANDBOX_SEND_MESSAGE of 4";
    for (query, wanted) in [
        ("toolkitSlug=sandbox", sandbox),
        (&format!("authConfigIds={config}"), sandbox),
        ("toolSlugs=GMAIL_SEND_MESSAGE", "GMAIL_SEND_EMAIL of 1"),
        (
            "toolkitSlug=sandbox&q=message%20list",
            "SANDBOX_LIST_MESSAGES of 1",
        ),
        (
            "toolkitSlug=sandbox&tags=write",
            "SANDBOX_SEND_MESSAGE of 1",
        ),
        (
            "toolkitSlug=sandbox&scopes=profile.read",
            "SANDBOX_GET_PROFILE of 1",
        ),
        ("toolkitSlug=sandbox&kind=triggers", " of 0"),
        (
            "toolkitSlug=sandbox&sortBy=name&sortOrder=desc&limit=1",
            "SANDBOX_SEND_MESSAGE of 4",
        ),
        (
            "toolkitSlug=sandbox&page=2&limit=3",
            "SANDBOX_SEND_MESSAGE of 4",
        ),
        (
            "toolkitSlug=sandbox&offset=3&fields=slug",
            "SANDBOX_SEND_MESSAGE of 4",
        ),
        // {"page":2,"limit":3}
        (
            "toolkitSlug=sandbox&cursor=eyJwYWdlIjoyLCJsaW1pdCI6M30=",
            "SANDBOX_SEND_MESSAGE of 4",
        ),
        (
            "toolkitSlug=sandbox&search=profile",
            "SANDBOX_GET_PROFILE of 1",
        ),
        ("toolkitSlug=sandbox&category=crm", " of 0"),
        (
            "toolkitSlug=sandbox&provider=COMPOSIO&important=true&includeDeprecated=true&toolkitVersions=1&kind=all&limit=1",
            "SANDBOX_GET_MESSAGE of 4",
        ),
    ] {
        assert_eq!(slugs(&list(query).await), wanted, "{query}");
    }
    for query in ["limit=101", "tags=x", "kind=x", "toolkitSlug=a&foo=1"] {
        assert_eq!(list(query).await.code(), "INVALID_REQUEST", "{query}");
    }
}

#[tokio::test]
async fn every_name_that_clients_know_stands_for_one_endpoint() {
    let api = TestApi::new().await;
    let all = tool::all(&api.api);
    for name in [
        "GMAIL_SEND_EMAIL",
        "GMAIL_FETCH_EMAILS",
        "GMAIL_FETCH_MESSAGE_BY_MESSAGE_ID",
    ] {
        assert_eq!(
            all.iter().filter(|tool| tool.is_named(name)).count(),
            1,
            "{name}"
        );
    }
    // No two tools share one.
    let mut names: Vec<_> = all.iter().map(|tool| tool.slug()).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[tokio::test]
async fn a_tool_runs_as_a_call_and_leaves_a_receipt() {
    let walk = Walk::new().await;
    let id = connected(&walk, "ada").await;
    let ada = acting(&walk, "ada");
    let run = async |tool: &str, body: Value| {
        ada.post(&format!("/api/v1/tools/execute/{tool}"), body)
            .await
    };
    let sent = run("SANDBOX_SEND_MESSAGE", json!({"connectedAccountId": id, "arguments": {"text": "hello"},
        "text": "ignored", "version": "latest", "allowTracing": true, "mcpServerId": "x", "metaSessionId": "y"}))
    .await;
    assert_eq!(sent.status, 201, "{}", sent.shown());
    let json = sent.json();
    assert_eq!(
        (&json["successful"], &json["error"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(json["data"]["text"], "hello");
    let read = run(
        "sandbox_get_message",
        json!({"arguments": {"id": json["data"]["id"]}}),
    )
    .await;
    assert_eq!(read.json()["data"]["text"], "hello", "{}", read.shown());
    let list = run("SANDBOX_LIST_MESSAGES", json!({"arguments": {"limit": 1}})).await;
    assert_eq!(list.status, 201);
    // What the provider refuses is the tool's result.
    let missing = run("SANDBOX_GET_MESSAGE", json!({"arguments": {"id": "none"}})).await;
    assert_eq!(
        (missing.status.as_u16(), &missing.json()["successful"]),
        (201, &json!(false))
    );
    assert!(missing.json()["error"].is_string(), "{}", missing.shown());
    // A job, where nobody waits.
    let later = ada.with("prefer", "respond-async");
    let later = later
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(later.status, 202, "{}", later.shown());
    let job = walk.job(later.json()["logId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "completed", "{job}");
    five_calls_are_shown(&walk, &id).await;
}

/// Receipts and usage, on both faces.
async fn five_calls_are_shown(walk: &Walk, id: &str) {
    let receipts = walk
        .partner
        .client
        .get("/api/v1/calls?limit=100")
        .await
        .data();
    assert_eq!(receipts["calls"].as_array().unwrap().len(), 5);
    let by_key = walk.api.anyone().with("x-api-key", &walk.partner.key);
    let usage = by_key.get("/api/v1/usage?limit=2&page=3").await.json();
    assert_eq!(
        (
            &usage["total"],
            &usage["totalPages"],
            usage["data"].as_array().unwrap().len()
        ),
        (&json!(5), &json!(3), 1)
    );
    assert_eq!(usage["data"][0]["toolkit"]["slug"], "sandbox");
    assert_eq!(usage["data"][0]["connectedAccountId"], id);
    for (query, total) in [
        ("eUID=ada", 5),
        ("eUID=nobody", 0),
        ("type=tool", 5),
        ("type=ai_model", 0),
        ("workflowId=x", 0),
        ("executionId=x", 0),
        ("threadId=x", 0),
        ("projectId=x", 5),
        ("from=2026-11-22", 0),
        ("to=2026-11-22", 5),
    ] {
        assert_eq!(
            by_key.get(&format!("/api/v1/usage?{query}")).await.json()["total"],
            total,
            "{query}"
        );
    }
    assert_eq!(
        by_key.get("/api/v1/usage?type=x").await.code(),
        "INVALID_REQUEST"
    );
    walk.api.advance(std::time::Duration::from_secs(3));
    let balance = walk
        .partner
        .client
        .get("/api/v1/usage/balance")
        .await
        .data();
    assert_eq!(
        (&balance["used"], &balance["included"], &balance["balance"]),
        (&json!(5), &json!(1000), &json!(995))
    );
    let sums = walk.partner.client.get("/api/v1/usage").await.data();
    assert_eq!(sums["total"]["calls"], 5);
}

#[tokio::test]
async fn what_does_not_fit_a_tool_is_named() {
    let walk = Walk::new().await;
    let id = connected(&walk, "ada").await;
    let ada = acting(&walk, "ada");
    let mut said = Vec::new();
    for (tool, body) in [
        ("NOPE", json!({})),
        (
            "GMAIL_SEND_EMAIL",
            json!({"arguments": {"recipient_email": "a@b.c", "subject": "s"}}),
        ),
        (
            "GMAIL_SEND_EMAIL",
            json!({"arguments": {"recipient_email": "a@b.c", "subject": 7, "body": "b"}}),
        ),
        ("SANDBOX_SEND_MESSAGE", json!({"arguments": {}})),
        ("SANDBOX_SEND_MESSAGE", json!({"arguments": {"text": 7}})),
        (
            "SANDBOX_SEND_MESSAGE",
            json!({"arguments": {"text": "x", "to": "y"}}),
        ),
        ("SANDBOX_SEND_MESSAGE", json!({"arguments": []})),
        (
            "SANDBOX_LIST_MESSAGES",
            json!({"arguments": {"limit": "1"}}),
        ),
        (
            "SANDBOX_LIST_MESSAGES",
            json!({"arguments": {"limit": 101}}),
        ),
        ("SANDBOX_GET_MESSAGE", json!({})),
        ("SANDBOX_GET_PROFILE", json!({"proxyUrl": "http://x"})),
        ("SANDBOX_GET_PROFILE", json!({"customAuthParams": {}})),
        ("SANDBOX_GET_PROFILE", json!({"customConnectionData": {}})),
        ("SANDBOX_GET_PROFILE", json!({"connectedAccountId": "x"})),
        ("GMAIL_FETCH_EMAILS", json!({"connectedAccountId": id})),
        ("SANDBOX_GET_PROFILE", json!({"foo": 1})),
    ] {
        said.push(
            ada.post(&format!("/api/v1/tools/execute/{tool}"), body)
                .await
                .said(),
        );
    }
    let nobody = acting(&walk, "bob");
    said.push(
        nobody
            .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
            .await
            .said(),
    );
    insta::assert_snapshot!(said.join("\n"), @r"
    NOT_FOUND There is no such tool.
    INVALID_REQUEST arguments.body: is required
    INVALID_REQUEST arguments.subject: must be a text
    INVALID_REQUEST arguments.text: is required
    INVALID_REQUEST arguments.text: must be a text
    INVALID_REQUEST arguments.to: is not an argument of SANDBOX_SEND_MESSAGE; it takes text
    INVALID_REQUEST arguments: invalid type: sequence, expected a map
    INVALID_REQUEST arguments.limit: must be a whole number
    INVALID_REQUEST arguments.limit: must be at most 100
    INVALID_REQUEST arguments.id: is required
    INVALID_REQUEST proxyUrl: is not supported: tokens go to the provider's own hosts alone
    INVALID_REQUEST customAuthParams: is not supported: credentials are those of the connected account
    INVALID_REQUEST customConnectionData: is not supported: connect an account first
    NOT_FOUND There is no such connected account.
    INVALID_REQUEST connectedAccountId: is connected to 'sandbox', not to gmail
    INVALID_REQUEST foo: unknown field `foo`, expected one of `connectedAccountId`, `arguments`, `text`, `version`, `allowTracing`, `mcpServerId`, `metaSessionId`, `proxyUrl`, `customAuthParams`, `customConnectionData`
    CONNECTION_NOT_FOUND The external user 'bob' has no connected account for sandbox. Begin with POST /api/v1/connected_accounts/link.
    ");
}

#[tokio::test]
async fn a_config_may_leave_tools_out() {
    let walk = Walk::new().await;
    let nobody = acting(&walk, "bob");
    let config = config_of(&walk, "API_KEY").await;
    let only = json!({"restrictToFollowingTools": ["SANDBOX_GET_PROFILE"]});
    walk.partner
        .client
        .patch(&format!("/api/v1/auth_configs/{config}"), only)
        .await
        .data();
    let body = json!({"authConfig": {"id": config}, "connection": {"eUID": "bob", "state": {
        "authScheme": "API_KEY", "val": {"api_key": "sandbox-key-bob"}}}});
    walk.partner
        .client
        .post("/api/v1/connected_accounts", body)
        .await;
    let run = async |tool: &str| {
        nobody
            .post(&format!("/api/v1/tools/execute/{tool}"), json!({}))
            .await
    };
    assert_eq!(run("SANDBOX_GET_PROFILE").await.status, 201);
    assert_eq!(
        run("SANDBOX_LIST_MESSAGES").await.code(),
        "SERVICE_DISABLED"
    );
}
