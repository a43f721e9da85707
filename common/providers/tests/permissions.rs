//! What a session may ask for, what a grant allows, and how a call leaves.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, Method};
use latchkey_oauth::Vars;
use latchkey_providers::{
    Catalog, OutgoingCall, ParamError, Provider, ScopeError, Target, captured, entry::TokenHeader,
};
use serde_json::{Map, Value, json};

/// The catalogue of the binary.
fn catalog() -> &'static Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::load(None).unwrap());
    &CATALOG
}

fn provider<'a>(catalog: &'a Catalog, slug: &str) -> &'a Provider {
    catalog.get(slug).unwrap()
}

#[test]
fn scopes_come_from_permissions_services_and_scopes() {
    let catalog = catalog();
    let google = provider(catalog, "google");
    let ask = |scopes: &[&str], services: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        google
            .scopes_for(&own(scopes), &own(services))
            .map(|scopes| {
                let short = |s: &String| s.replace("https://www.googleapis.com/auth/", "");
                scopes.iter().map(short).collect::<Vec<_>>().join(" ")
            })
    };
    assert_eq!(
        ask(
            &[
                "gmail.read",
                "https://www.googleapis.com/auth/drive",
                "gmail.read"
            ],
            &[]
        )
        .unwrap(),
        "openid email gmail.readonly drive"
    );
    assert_eq!(
        ask(&[], &["docs", "calendar.read"]).unwrap(),
        "openid email documents.readonly calendar.readonly"
    );
    assert_eq!(
        ask(&[], &["calendar"]).unwrap(),
        "openid email calendar.readonly calendar.events"
    );
    assert_eq!(
        ask(&[], &[]).unwrap(),
        "openid email gmail.readonly gmail.send calendar.readonly calendar.events drive.readonly drive.file"
    );
    assert_eq!(
        ask(&[], &["maps"]),
        Err(ScopeError::Unknown("maps".to_owned()))
    );
    for bad in ["", "a b", "a,b", "a\"b", "a\\b", "a\nb", "\u{e9}"] {
        assert_eq!(ask(&[bad], &[]), Err(ScopeError::NotAScope(bad.to_owned())));
    }
    let many: Vec<_> = (0..101).map(|n| format!("s{n}")).collect();
    assert_eq!(google.scopes_for(&many, &[]), Err(ScopeError::TooMany));
}

#[test]
fn a_grant_allows_what_its_scopes_hold() {
    let catalog = catalog();
    let google = provider(catalog, "google");
    let scope = |name: &str| format!("https://www.googleapis.com/auth/{name}");
    let allowed = |scopes: &[String]| -> Vec<String> {
        let granted = google.granted(&google.oauth, scopes);
        granted
            .into_iter()
            .filter(|(_, allowed)| *allowed)
            .map(|(id, _)| id)
            .collect()
    };
    assert_eq!(allowed(&[scope("gmail.readonly")]), ["gmail.read"]);
    assert_eq!(
        allowed(&[scope("gmail.modify")]),
        ["gmail.manage", "gmail.read", "gmail.send"]
    );
    assert!(allowed(&[]).is_empty());
    // A GitHub App has no scopes; GitHub decides at each call.
    let github = provider(catalog, "github");
    let kind = Map::from_iter([("app_kind".to_owned(), json!("github_app"))]);
    assert!(
        github
            .granted(github.spec(&kind), &[])
            .values()
            .all(|allowed| *allowed)
    );
    assert!(
        !github
            .granted(github.spec(&Map::new()), &[])
            .values()
            .any(|allowed| *allowed)
    );
}

#[test]
fn raw_calls_need_a_permission_of_their_kind() {
    let catalog = catalog();
    let gmail = provider(catalog, "google").service("gmail").unwrap();
    let ids = |method: Method| -> Vec<_> {
        gmail
            .raw_permissions(&method)
            .map(|permission| permission.id.as_str())
            .collect()
    };
    assert_eq!(ids(Method::GET), ["gmail.read"]);
    assert_eq!(ids(Method::HEAD), ["gmail.read"]);
    assert_eq!(ids(Method::POST), ["gmail.send", "gmail.manage"]);
    assert_eq!(ids(Method::DELETE), ["gmail.send", "gmail.manage"]);
}

#[test]
fn parameters_of_an_auth_config_are_checked() {
    let catalog = catalog();
    let check = |slug: &str, given: Value| {
        provider(catalog, slug)
            .check_app_params(given.as_object().unwrap())
            .map(Value::Object)
    };
    for good in [
        "http://127.0.0.1:4000",
        "http://sandbox.example",
        "http://[::1]:9",
    ] {
        assert_eq!(
            check("sandbox", json!({"base_url": good})),
            Ok(json!({"base_url": good}))
        );
    }
    for bad in [
        json!(""),
        json!("127.0.0.1"),
        json!("http://a/b"),
        json!("http://u@a"),
        json!("http://a?b"),
        json!("http://a\n"),
        json!("http://a#"),
        json!("ftp://a"),
        // Plain http goes to the egress list alone, so no sandbox is a public host.
        json!("https://sandbox.example"),
        json!(["http://a"]),
        json!(true),
        json!(format!("http://{}", "a".repeat(2048))),
    ] {
        let refused = Err(ParamError::Invalid("base_url".to_owned()));
        assert_eq!(check("sandbox", json!({"base_url": bad})), refused, "{bad}");
    }
    assert_eq!(
        check("sandbox", json!({})),
        Err(ParamError::Missing("base_url".to_owned()))
    );
    assert_eq!(
        check("google", json!({"x": "y"})),
        Err(ParamError::Unknown("x".to_owned()))
    );
    assert_eq!(
        check("google", json!({"app_kind": "y"})),
        Err(ParamError::Unknown("app_kind".to_owned()))
    );
    assert_eq!(
        check("github", json!({})),
        Ok(json!({"app_kind": "oauth_app"}))
    );
    let app = json!({"app_kind": "github_app"});
    assert_eq!(check("github", app.clone()), Ok(app.clone()));
    assert_eq!(
        check("github", json!({"app_kind": "y"})),
        Err(ParamError::Invalid("app_kind".to_owned()))
    );
    let github = provider(catalog, "github");
    assert!(
        github
            .spec(app.as_object().unwrap())
            .rotation
            .rules()
            .rotates
    );
    assert!(!github.spec(&Map::new()).rotation.rules().rotates);
}

#[test]
fn a_call_leaves_with_token_headers_and_its_own_host() {
    let catalog = catalog();
    let (app, none) = (json!({"base_url": "http://127.0.0.1:4000"}), Map::new());
    let vars = Vars {
        client_id: "c",
        app: app.as_object().unwrap(),
        connection: &none,
        token: &none,
    };
    let send = |slug: &str, service: &str, target: &Target| {
        let call = OutgoingCall {
            method: Method::POST,
            target,
            headers: HeaderMap::from_iter([(
                http::header::AUTHORIZATION,
                "Basic eA==".parse().unwrap(),
            )]),
            body: Bytes::from_static(b"{}"),
            idempotency_key: Some("call_1"),
        };
        let service = provider(catalog, slug).service(service).unwrap();
        service.call_request(&vars, call, &"at-1".into()).unwrap()
    };
    let target = Target::raw("/messages", Some("a=b")).unwrap();
    let request = send("sandbox", "api", &target);
    assert_eq!(
        request.request.uri(),
        "http://127.0.0.1:4000/api/messages?a=b"
    );
    assert_eq!(request.request.headers()["authorization"], "Bearer at-1");
    assert_eq!(request.request.headers()["idempotency-key"], "call_1");
    assert!(
        request
            .hosts
            .contains(&"http://127.0.0.1:4000/".parse().unwrap())
    );
    assert!(
        !request
            .hosts
            .contains(&"http://127.0.0.1:4001/".parse().unwrap())
    );
    assert!(!format!("{request:?}").contains("at-1"));
    let request = send("github", "api", &target);
    assert_eq!(request.request.uri(), "https://api.github.com/messages?a=b");
    assert_eq!(
        request.request.headers()["x-github-api-version"],
        "2022-11-28"
    );
    assert!(!request.request.headers().contains_key("idempotency-key"));
    // Where the token goes, and what stands before it, is the entry's to say.
    let mut service = provider(catalog, "sandbox").service("api").unwrap().clone();
    service.token_header = TokenHeader {
        name: "x-token".to_owned(),
        prefix: "Token ".to_owned(),
    };
    let call = OutgoingCall {
        method: Method::GET,
        target: &target,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        idempotency_key: None,
    };
    let request = service.call_request(&vars, call, &"at-1".into()).unwrap();
    assert_eq!(request.request.headers()["x-token"], "Token at-1");
    assert!(!request.request.headers().contains_key("authorization"));
}

#[test]
fn what_the_callback_brings_is_checked() {
    let callback = &provider(catalog(), "quickbooks").oauth.callback;
    let brought = |query: &[(&str, &str)]| {
        let pairs: Vec<_> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        captured(callback, &pairs).map_err(|error| error.0)
    };
    let kept = brought(&[("code", "c"), ("realmId", "4620816365009870170")]).unwrap();
    assert_eq!(
        Value::from(kept),
        json!({"realm_id": "4620816365009870170"})
    );
    for wrong in [
        &[("code", "c")][..],
        &[("realmId", "4620816365009870170/../x")],
        &[("realmId", "46208163"), ("realmId", "46208164")],
    ] {
        assert_eq!(brought(wrong).unwrap_err(), "realmId", "{wrong:?}");
    }
    let mut optional = callback.clone();
    optional.capture.get_mut("realm_id").unwrap().required = false;
    assert!(captured(&optional, &[]).unwrap().is_empty());
}
