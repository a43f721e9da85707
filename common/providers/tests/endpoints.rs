//! Named endpoints: which one a path names, and the provider's request it becomes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::LazyLock;

use http::Method;
use latchkey_providers::{BuildError, Catalog, NoMatch, PlannedCall};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The catalogue of the binary.
fn catalog() -> &'static Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::load(None).unwrap());
    &CATALOG
}

/// What `{method} /api/v1/{path}?{query}` with this body becomes.
fn plan(
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    body: &str,
) -> Result<PlannedCall, BuildError> {
    let catalog = catalog();
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let found = catalog
        .find_endpoint(first, rest, &method.parse().unwrap())
        .unwrap();
    let query: Vec<_> = query
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    found.build(&query, body.as_bytes())
}

/// What partners send, and what the provider gets.
const PATHS: &str = r#"
GET google/gmail/messages?limit=5 -> GET /gmail/v1/users/me/messages?maxResults=5
GET gmail/messages?maxResults=5&q=a+b%26c -> GET /gmail/v1/users/me/messages?maxResults=5&q=a%20b%26c
GET google/gmail/messages/18c -> GET /gmail/v1/users/me/messages/18c
GET gmail/messages/a%2Fb/ -> GET /gmail/v1/users/me/messages/a%2Fb
GET calendar/events -> GET /calendars/primary/events
GET google/calendar/events?calendarId=a@x.example&timeMin=2026-01-01 -> GET /calendars/a%40x.example/events?timeMin=2026-01-01
POST calendar/events {"summary":"x","n":1.0} -> POST /calendars/primary/events {"summary":"x","n":1.0}
PUT google/calendar/events/e1 {} -> PUT /calendars/primary/events/e1 {}
DELETE calendar/events/e1?sendUpdates=none -> DELETE /calendars/primary/events/e1?sendUpdates=none
GET drive/files?limit=10 -> GET /files?fields=nextPageToken%2Cfiles%28id%2Cname%2CmimeType%2CmodifiedTime%2Csize%2CwebViewLink%29&pageSize=10
GET docs/documents/d1 -> GET /documents/d1
GET slides/presentations/p1 -> GET /presentations/p1
GET sheets/spreadsheets/s1/values/A1:B2 -> GET /spreadsheets/s1/values/A1%3AB2
POST sheets/spreadsheets/s1/update {} -> POST /spreadsheets/s1:batchUpdate {}
GET github/repos?limit=7&sort=pushed -> GET /user/repos?per_page=7&sort=pushed
GET github/user -> GET /user
GET github/api/user -> GET /user
GET github/repos/o/r/issues?state=all -> GET /repos/o/r/issues?state=all
POST github/repos/o/r/issues {"title":"t","labels":["a"]} -> POST /repos/o/r/issues {"labels":["a"],"title":"t"}
GET slack/channels?limit=5 -> GET /conversations.list?limit=5
GET slack/messages?channel=C1&limit=5 -> GET /conversations.history?channel=C1&limit=5
POST slack/messages {"channel":"C1","text":"t","thread_ts":"1.2"} -> POST /chat.postMessage {"channel":"C1","text":"t","thread_ts":"1.2"}
GET slack/users/U%201 -> GET /users.info?user=U%201
GET slack/messages/1.2/replies?channel=C1 -> GET /conversations.replies?ts=1.2&channel=C1
DELETE slack/channels/C1 -> POST /conversations.archive {"channel":"C1"}
PATCH gmail/messages/18c {"remove_labels":["UNREAD"]} -> POST /gmail/v1/users/me/messages/18c/modify {"removeLabelIds":["UNREAD"]}
DELETE gmail/messages/18c -> POST /gmail/v1/users/me/messages/18c/trash
POST sheets/spreadsheets/s1/values/A1:B2/append {} -> POST /spreadsheets/s1/values/A1%3AB2:append?valueInputOption=USER_ENTERED {}
DELETE notion/pages/p1 -> PATCH /pages/p1 {"in_trash":true}
POST jira/issues/A-1/transitions {"transition_id":"31"} -> POST /issue/A-1/transitions {"transition":{"id":"31"}}
GET discord/guilds -> GET /users/@me/guilds
GET discord/guilds/7/channels -> GET /guilds/7/channels
GET discord/channels/7/messages?limit=3 -> GET /channels/7/messages?limit=3
POST discord/channels/7/messages {"content":"hi"} -> POST /channels/7/messages {"content":"hi"}
GET notion/pages/p1 -> GET /pages/p1
GET notion/pages/p1/blocks -> GET /blocks/p1/children
GET sandbox/profile -> GET /me
GET sandbox/messages?cursor=c&limit=2 -> GET /messages?cursor=c&limit=2
GET sandbox/messages/7 -> GET /messages/7
POST sandbox/messages {"text":"hi"} -> POST /messages {"text":"hi"}
"#;

#[test]
fn the_documented_paths_reach_the_provider_s_own() {
    for row in PATHS.lines().filter(|row| !row.is_empty()) {
        let (asked, expected) = row.split_once(" -> ").unwrap();
        let mut words = asked.splitn(3, ' ');
        let (method, address) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let query: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let call = plan(method, path, &query, words.next().unwrap_or_default()).unwrap();
        let body = String::from_utf8(call.body.to_vec()).unwrap();
        let got = format!("{} {} {body}", call.method, call.target.as_str());
        assert_eq!(got.trim_end(), expected, "{asked}");
    }
}

#[test]
fn an_endpoint_s_own_headers_go_along() {
    let post = "linkedin/posts/urn:li:share:1";
    let call = plan("PATCH", post, &[], r#"{"text":"t"}"#).unwrap();
    let header = ("x-restli-method".to_owned(), "PARTIAL_UPDATE".to_owned());
    assert_eq!(call.headers, [header]);
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(body, json!({"patch": {"$set": {"commentary": "t"}}}));
    assert!(plan("GET", post, &[], "").unwrap().headers.is_empty());
}

#[test]
fn an_email_becomes_gmail_s_raw_message() {
    let call = plan(
        "POST",
        "gmail/send",
        &[],
        r#"{"to":"a@b.example","subject":"s","body":"b"}"#,
    )
    .unwrap();
    assert_eq!(call.content_type.as_deref(), Some("application/json"));
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert!(body["raw"].as_str().unwrap().len() > 50);
    assert!(!format!("{call:?}").contains("raw"));
}

#[test]
fn what_names_nothing_is_told_apart() {
    let catalog = catalog();
    let find = |first: &str, rest: &str, method: Method| {
        catalog
            .find_endpoint(first, rest, &method)
            .map(|found| found.endpoint.name.clone())
    };
    assert_eq!(find("nobody", "x", Method::GET), Err(NoMatch::NoProvider));
    assert_eq!(
        find("google", "nothing/x", Method::GET),
        Err(NoMatch::NoEndpoint)
    );
    assert_eq!(find("google", "", Method::GET), Err(NoMatch::NoEndpoint));
    // `api` is a service of two providers and stands at the top of none.
    assert_eq!(find("api", "user", Method::GET), Err(NoMatch::NoProvider));
    assert_eq!(
        find("gmail", "messages//x", Method::GET),
        Err(NoMatch::NoEndpoint)
    );
    assert_eq!(
        find("gmail", "messages/%ff", Method::GET),
        Err(NoMatch::NoEndpoint)
    );
    let Err(NoMatch::Method { allowed }) = find("gmail", "messages", Method::POST) else {
        panic!("POST /gmail/messages")
    };
    assert_eq!(allowed, [Method::GET]);
}

#[test]
fn bad_parameters_are_named() {
    let message = |result: Result<PlannedCall, BuildError>| result.unwrap_err().to_string();
    let list = |query: &[(&str, &str)]| message(plan("GET", "sandbox/messages", query, ""));
    assert_eq!(list(&[("limit", "0")]), "'limit' must be at least 1");
    assert_eq!(list(&[("limit", "101")]), "'limit' must be at most 100");
    assert_eq!(list(&[("limit", "x")]), "'limit' must be a whole number");
    assert_eq!(
        list(&[("limit", "1"), ("limit", "2")]),
        "'limit' is given twice"
    );
    assert_eq!(
        list(&[("colour", "red")]),
        "'colour' is not a parameter of this endpoint"
    );
    let send = |body: &str| message(plan("POST", "sandbox/messages", &[], body));
    assert_eq!(send(""), "'text' is required");
    assert_eq!(send("{}"), "'text' is required");
    assert_eq!(send(r#"{"text":null}"#), "'text' is required");
    assert_eq!(send(r#"{"text":7}"#), "'text' must be a text");
    assert_eq!(
        send(r#"{"text":"a","b":1}"#),
        "'b' is not a parameter of this endpoint"
    );
    for body in ["[]", "\"x\"", "{", "text=hi", "\u{0}"] {
        assert_eq!(send(body), "the body must be a JSON object", "{body}");
    }
    let long = json!({"text": "x".repeat(10_001)}).to_string();
    assert_eq!(send(&long), "'text' is longer than 10000 characters");
    let get = |path: &str, body: &str| message(plan("GET", path, &[], body));
    assert_eq!(
        get("sandbox/messages/7", "{}"),
        "this endpoint takes no body"
    );
    assert_eq!(get("sandbox/messages/..", ""), "'id' is not allowed");
    assert_eq!(get("sandbox/messages/%2e%2e", ""), "'id' is not allowed");
    let issue = |path: &str| message(plan("GET", path, &[], ""));
    assert_eq!(
        issue("github/repos/o/r/issues/x"),
        "'number' must be a whole number"
    );
    let sort = plan("GET", "github/repos", &[("sort", "size")], "");
    assert_eq!(
        message(sort),
        "'sort' must be one of created, updated, pushed, full_name"
    );
    let event = plan("POST", "calendar/events", &[], "7");
    assert_eq!(event, Err(BuildError::NotAnObject));
}

proptest! {
    #[test]
    fn no_request_panics_or_leaves_its_service(
        rest in r"(messages|events|send|files|/|%2e|%2f|\.\.|@|:|[a-z]|\PC){0,12}",
        name in "(limit|cursor|id|calendarId|q|[a-z]{0,3})",
        value in r"(\.\.|/|\PC){0,8}",
        body in r#"(\{|"text"|"to"|:|"|,|[0-9]|a@b|\}|\PC){0,16}"#,
        method in "(GET|POST|PUT|DELETE)",
    ) {
        let catalog = catalog();
        for first in ["gmail", "calendar", "google", "sandbox", "github"] {
            let method = method.parse().unwrap();
            let Ok(found) = catalog.find_endpoint(first, &rest, &method) else { continue };
            if let Ok(call) = found.build(&[(name.clone(), value.clone())], body.as_bytes()) {
                let base = "https://host.example/base".parse().unwrap();
                let url = call.target.join(&base).unwrap();
                prop_assert_eq!(url.host_str(), Some("host.example"));
                prop_assert!(url.path().starts_with("/base/"));
            }
        }
    }

}
