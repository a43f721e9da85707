//! Tools as clients see them.

use serde_json::json;

use crate::testing::TestApi;

#[tokio::test]
async fn only_what_is_connected_is_listed_unless_all_is_asked() {
    let test = TestApi::new().await;
    let acme = test.partner("Acme").await;
    let none = acme.client.get("/api/v1/tools").await.data();
    assert_eq!((&none["total"], &none["tools"]), (&json!(0), &json!([])));
    assert!(none["base_url"].as_str().unwrap().starts_with("http"));
    let all = acme.client.get("/api/v1/tools?all=true").await.data();
    let total = all["total"].as_u64().unwrap();
    assert_eq!(all["tools"].as_array().unwrap().len() as u64, total);
    assert!(total > 170, "{total}");
    // A connection that may do nothing that is named makes no tool callable.
    let account = acme.account("user-1").await;
    test.connection(&acme, &account).await;
    let ours = acme.client.with("x-account-id", "user-1");
    assert_eq!(ours.get("/api/v1/tools").await.data()["total"], 0);
}

#[tokio::test]
async fn a_tool_says_how_it_is_called() {
    let test = TestApi::new().await;
    let acme = test.partner("Acme").await;
    let github = acme
        .client
        .get("/api/v1/tools/provider/github")
        .await
        .data();
    let tools = github["tools"].as_array().unwrap();
    let tool = tools
        .iter()
        .find(|tool| tool["function"]["name"] == "github_get_issue")
        .unwrap();
    let told = json!({"provider": "github", "service": "api", "permission": "repos.read", "method": "GET",
        "path": "/api/v1/github/repos/{owner}/{repo}/issues/{number}", "connected": false});
    assert_eq!(tool["metadata"], told);
    assert_eq!(tool["type"], "function");
    assert_eq!(tool["function"]["description"], "Get issue in GitHub");
    let required = &tool["function"]["parameters"]["required"];
    assert_eq!(*required, json!(["number", "owner", "repo"]));
    let missing = acme.client.get("/api/v1/tools/provider/nobody").await;
    assert_eq!(missing.code(), "NOT_FOUND");
    let gmail = acme.client.get("/api/v1/tools/service/gmail").await.data();
    assert_eq!(gmail["total"], 8);
}

#[tokio::test]
async fn words_find_tools_best_first() {
    let test = TestApi::new().await;
    let acme = test.partner("Acme").await;
    let found = acme
        .client
        .get("/api/v1/tools/search/list%20slack%20channels")
        .await
        .data();
    assert_eq!(found["tools"][0]["function"]["name"], "slack_list_channels");
    assert_eq!(found["tools"][0]["score"], 1.0);
    let found = acme
        .client
        .get("/api/v1/tools/search/send%20email")
        .await
        .data();
    let names: Vec<_> = (0..2)
        .map(|nth| &found["tools"][nth]["function"]["name"])
        .collect();
    assert_eq!(names, ["gmail_send_message", "microsoft_mail_send_message"]);
    let none = acme.client.get("/api/v1/tools/search/zzzz").await.data();
    assert_eq!(none["total"], 0);
}
