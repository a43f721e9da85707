//! The whole catalogue beside a server, played by its own sandbox (`latchkey serve --sandbox`): what a partner's
//! tests find offline.

use std::collections::BTreeSet;

use latchkey_domain::Timestamp;
use latchkey_tests::{Answer, Browser, Partner, Server, ServerOptions, until};
use serde_json::{Value, json};

/// What a provider asks before connecting, and has no default for.
const ASKED: &[(&str, &str, &str)] = &[
    ("shopify", "shop", "acme"),
    ("zendesk", "subdomain", "acme"),
];
/// Providers that end a grant nowhere but by hand.
const BY_HAND: &[&str] = &["airtable", "clickup", "figma", "jira", "microsoft"];

/// Providers whose access tokens cannot be renewed: when one ends, the user must come again.
const NOT_RENEWED: &[&str] = &["clickup", "github", "intercom", "stripe"];

/// Each provider is connected, every list of it is read with its second page and everything else that only reads is
/// called; its access token ends between two calls, which the caller does not notice where it can be renewed; and it
/// is disconnected with a receipt: through the API alone.
#[tokio::test]
async fn every_provider_is_connected_read_and_disconnected() {
    let server = Server::start(ServerOptions::default().with_sandbox()).await;
    let partner = server.partner("test").await;
    let account = partner.account("ada").await;
    let none = partner.call("GET", "/tools", "ada", &[], None).await.data();
    assert_eq!(none["total"], 0, "{none}");
    let all = partner.send("GET", "/tools?all=true", None).await.data();
    let tools = all["tools"].as_array().expect("tools");
    let named = |tool: &Value| tool["metadata"]["provider"].as_str().map(str::to_owned);
    let mut providers: BTreeSet<_> = tools.iter().filter_map(named).collect();
    providers.remove("sandbox");
    assert_eq!(providers.len(), 28, "{providers:?}");
    let (mut reads, mut pages, mut receipts) = (0, 0, BTreeSet::new());
    let mut not_renewed = Vec::new();
    for provider in &providers {
        let its = tools
            .iter()
            .filter(|tool| named(tool).as_ref() == Some(provider));
        let its: Vec<_> = its.collect();
        connect(&partner, &account, provider, &its).await;
        for tool in its.iter().filter(|t| t["metadata"]["method"] == "GET") {
            let (first, is_list) = read(&partner, tool).await;
            reads += 1;
            if is_list {
                second_page(&partner, tool, &first).await;
                pages += 1;
            }
        }
        if provider == "salesforce" {
            ends_as_introspected(&partner, &account, "connected_at").await;
        }
        let probe = its.iter().find(|t| t["metadata"]["method"] == "GET");
        let renewed = ends_between_calls(&server, &partner, probe.expect("a read")).await;
        if !renewed {
            not_renewed.push(provider.as_str());
            connect(&partner, &account, provider, &its).await;
        }
        if provider == "salesforce" {
            ends_as_introspected(&partner, &account, "last_refreshed_at").await;
        }
        let receipt = disconnect(&partner, &account, provider).await;
        let by_hand = BY_HAND.contains(&provider.as_str());
        let outcome = if by_hand {
            "not_supported"
        } else {
            "confirmed"
        };
        assert_eq!(receipt["outcome"], outcome, "{provider}: {receipt}");
        assert_eq!(receipt["help_url"].is_string(), by_hand, "{receipt}");
        receipts.insert(outcome);
    }
    assert_eq!(receipts.len(), 2);
    assert_eq!(not_renewed, NOT_RENEWED);
    // As many as the catalogue has: a new endpoint is called here too.
    assert_eq!((reads, pages), (READS, LISTS));
}

/// Endpoints of the 28 that read, and those of them that are lists.
const READS: usize = 108;
const LISTS: usize = 55;

/// Consents to everything that the provider's endpoints need.
async fn connect(partner: &Partner, account: &str, provider: &str, tools: &[&Value]) {
    let permissions: BTreeSet<_> = tools
        .iter()
        .map(|tool| tool["metadata"]["permission"].clone())
        .map(|permission| permission.as_str().expect("a permission").to_owned())
        .collect();
    let params: serde_json::Map<_, _> = ASKED
        .iter()
        .filter(|(of, ..)| *of == provider)
        .map(|(_, name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect();
    let body = json!({"provider": provider, "redirect_url": Partner::REDIRECT, "scopes": permissions,
        "params": params});
    let path = format!("/accounts/{account}/connect");
    let link = partner.send("POST", &path, Some(body)).await.data();
    let link = link["connect_url"].as_str().expect("a link").to_owned();
    let landed = Browser::new().consent(&link, "ada").await;
    assert!(landed.as_str().contains("status=success"), "{landed}");
    // What can be called now is listed as that.
    let path = format!("/tools/provider/{provider}");
    let now = partner.call("GET", &path, "ada", &[], None).await.data();
    let closed: Vec<_> = now["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter(|tool| tool["metadata"]["connected"] != true)
        .collect();
    assert!(closed.is_empty(), "{provider}: {closed:?}");
    let me = partner.call("GET", "/me", "ada", &[], None).await.data();
    let here = json!([{"provider": provider, "status": "active"}]);
    assert_eq!(
        (&me["integrations"], &me["tier"]),
        (&here, &json!("test")),
        "{me}"
    );
    // It is found by its own words, first or not.
    let tool = &tools[0]["function"]["name"];
    let words = tool.as_str().expect("a name").replace('_', "%20");
    let found = partner
        .call("GET", &format!("/tools/search/{words}"), "ada", &[], None)
        .await
        .data();
    let mut found = found["tools"].as_array().expect("tools").iter();
    let found = found.find(|found| found["function"]["name"] == *tool);
    assert!(
        found.is_some_and(|found| found["score"] == 1.0),
        "{tool}: {found:?}"
    );
}

/// Calls a tool with what it requires and a page of ten; whether it is a list.
async fn read(partner: &Partner, tool: &Value) -> (Value, bool) {
    let properties = &tool["function"]["parameters"]["properties"];
    let is_list = properties.get("cursor").is_some();
    let mut more = Vec::new();
    if properties.get("limit").is_some() {
        more.push(("limit", "10".to_owned()));
    }
    (answered(partner, tool, &more).await, is_list)
}

/// The end of Salesforce's access token is the one that it told when it was asked, half of what the entry assumes.
async fn ends_as_introspected(partner: &Partner, account: &str, since: &str) {
    let seen = partner.integration(account).await;
    let at = |name: &str| {
        let text = seen[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {seen}"));
        Timestamp::parse(text).expect("a time")
    };
    let life = at(since).until(at("expires_at")).as_secs();
    assert!((3595..=3600).contains(&life), "{life} s: {seen}");
}

/// Ends every access token at the provider and calls; whether the call succeeded, with one refresh.
async fn ends_between_calls(server: &Server, partner: &Partner, tool: &Value) -> bool {
    let sandbox = server.sandbox_url.as_deref().expect("a sandbox");
    let sandbox = sandbox.trim_end_matches('/');
    let refreshes = || async {
        let url = format!("{sandbox}/sandbox/counters");
        let counters = server.http.send("GET", &url, &[], None).await.json();
        counters["token_refresh"].as_u64().expect("a count")
    };
    let before = refreshes().await;
    let url = format!("{sandbox}/sandbox/grants/expire-access");
    let ended = server.http.send("POST", &url, &[], None).await.json();
    assert!(ended["expired"].as_u64() > Some(0), "{ended}");
    let answer = asked(partner, tool, &[]).await;
    if answer.status == 200 {
        assert_eq!(
            refreshes().await,
            before + 1,
            "{}",
            tool["function"]["name"]
        );
        return true;
    }
    assert_eq!(answer.error(409), "NEEDS_REAUTH");
    false
}

/// The page after this one, which tells other items.
async fn second_page(partner: &Partner, tool: &Value, first: &Value) {
    let name = &tool["function"]["name"];
    let cursor = first["next_cursor"].as_str();
    let cursor = cursor.unwrap_or_else(|| panic!("{name} tells no next page: {first}"));
    let mut more = vec![("cursor", cursor.to_owned())];
    let properties = &tool["function"]["parameters"]["properties"];
    if properties.get("limit").is_some() {
        more.push(("limit", "10".to_owned()));
    }
    let second = answered(partner, tool, &more).await;
    assert_ne!(first["data"], second["data"], "{name}");
}

/// What a tool tells.
async fn answered(partner: &Partner, tool: &Value, more: &[(&str, String)]) -> Value {
    let answer = asked(partner, tool, more).await;
    assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
    answer.json()
}

/// The answer of a tool, asked again for as long as it is asked too often.
async fn asked(partner: &Partner, tool: &Value, more: &[(&str, String)]) -> Answer {
    let parameters = &tool["function"]["parameters"];
    let required = parameters["required"].as_array().expect("names");
    let metadata = &tool["metadata"];
    let mut path = metadata["path"].as_str().expect("a path").to_owned();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for name in required.iter().filter_map(Value::as_str) {
        let value = sample(&parameters["properties"][name]);
        let hole = format!("{{{name}}}");
        if path.contains(&hole) {
            path = path.replace(&hole, &value);
        } else {
            query.append_pair(name, &value);
        }
    }
    for (name, value) in more {
        query.append_pair(name, value);
    }
    let below = path.strip_prefix("/api/v1").expect("a path of the API");
    let path = format!("{below}?{}", query.finish());
    until("an answer that is not 'too often'", || async {
        let answer = partner.call("GET", &path, "ada", &[], None).await;
        (answer.status != 429).then_some(answer)
    })
    .await
}

fn sample(property: &Value) -> String {
    if let Some(first) = property["enum"].get(0).and_then(Value::as_str) {
        return first.to_owned();
    }
    match property["type"].as_str() {
        Some("integer") => property["minimum"].as_i64().unwrap_or(1).max(1).to_string(),
        Some("boolean") => "true".to_owned(),
        _ => "sample".to_owned(),
    }
}

/// Disconnects, and the receipt of the revocation.
async fn disconnect(partner: &Partner, account: &str, provider: &str) -> Value {
    let path = format!("/accounts/{account}/integrations/{provider}");
    let gone = partner.send("DELETE", &path, None).await.data();
    let job = gone["revocation_jobs"][0]
        .as_str()
        .expect("a job")
        .to_owned();
    let job = partner.job(&job).await;
    assert_eq!(job["status"], "completed", "{provider}: {job}");
    job["receipt"].clone()
}
