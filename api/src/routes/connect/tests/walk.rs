//! The walk through a connect session, and how it ends where it does not lead to a connection.

use latchkey_sandbox::{Counter, FaultKind, Target};
use regex::Regex;
use serde_json::json;
use url::Url;

use crate::{
    testing::hide_ids,
    walking::{REDIRECT, Walk, landing},
};

fn quick() -> [(&'static str, &'static str); 1] {
    [("connect.callback_wait_ms", "20")]
}

#[tokio::test]
async fn a_user_connects() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    assert_eq!(walk.status(&link).await, "pending");
    let mut browser = walk.browser();
    let authorize = browser.reach_provider(&link).await;
    assert_eq!(walk.status(&link).await, "authorizing");
    let asked: Vec<_> = authorize.query_pairs().into_owned().collect();
    let secret = Regex::new("[A-Za-z0-9_-]{43}").unwrap();
    let shown = asked.iter().map(|(name, value)| format!("{name}={value}"));
    let shown = secret
        .replace_all(&shown.collect::<Vec<_>>().join("\n"), "<256 bits>")
        .into_owned();
    insta::assert_snapshot!(hide_ids(&shown), @r#"
    response_type=code
    client_id=sandbox-client
    state=<256 bits>
    redirect_uri=http://127.0.0.1:8080/api/v1/connect/callback/ac_<id>
    scope=profile messages.read messages.write
    code_challenge=<256 bits>
    code_challenge_method=S256
    "#);

    let back = browser.decide(&authorize, "user-1", "allow").await;
    let landed = browser.open(&back).await;
    assert_eq!(landed.status, 303);
    insta::assert_snapshot!(hide_ids(landed.header("location")), @r#"
    https://app.example.com/cb?status=success&provider=sandbox&account_id=user-1&session_id=<uuid>
    "#);
    assert_eq!(walk.status(&link).await, "completed");
    assert_eq!(walk.count(Counter::TokenExchange), 1);
    assert!(browser.cookies.is_empty());
    let path = format!("/api/v1/accounts/{account}/integrations");
    let integrations = walk.partner.client.get(&path).await.data();
    assert_eq!(integrations["integrations"][0]["status"], "active");
    assert_eq!(
        integrations["integrations"][0]["account_label"],
        "user-1@sandbox.example"
    );
}

#[tokio::test]
async fn states_and_challenges_are_fresh_each_time() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let link = walk.link(&account).await;
        let authorize = walk.browser().reach_provider(&link).await;
        for (name, value) in authorize.query_pairs() {
            if name == "state" || name == "code_challenge" {
                assert_eq!(value.len(), 43);
                assert!(seen.insert(value.into_owned()));
            }
        }
    }
    assert_eq!(seen.len(), 10);
}

#[tokio::test]
async fn two_sessions_go_on_in_one_browser() {
    let walk = Walk::new().await;
    let (a, b) = (
        walk.partner.account("a").await,
        walk.partner.account("b").await,
    );
    let (first, second) = (walk.link(&a).await, walk.link(&b).await);
    let mut browser = walk.browser();
    let back_first = browser.reach_callback(&first, "a").await;
    let back_second = browser.reach_callback(&second, "b").await;
    assert_eq!(landing(&browser.open(&back_first).await)["account_id"], "a");
    assert_eq!(
        landing(&browser.open(&back_second).await)["account_id"],
        "b"
    );
}

#[tokio::test]
async fn a_no_at_the_provider_comes_back_as_one() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let mut codes = Vec::new();
    for error in [
        "access_denied",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "interaction_required",
    ] {
        let code = error.to_owned();
        walk.fault(Target::Authorize, FaultKind::OauthError { code });
        let link = walk.link(&account).await;
        let mut browser = walk.browser();
        let landed = browser.connect(&link, "user-1").await;
        assert_eq!(landed["account_id"], "user-1");
        assert_eq!(
            walk.status(&link).await,
            format!("failed {}", landed["error"])
        );
        codes.push(format!("{error}: {}", landed["error"]));
    }
    insta::assert_snapshot!(codes.join("\n"), @r#"
    access_denied: access_denied
    invalid_scope: invalid_scope
    server_error: provider_unavailable
    temporarily_unavailable: provider_unavailable
    unauthorized_client: authorization_failed
    interaction_required: authorization_failed
    "#);
    // The button of the consent page says it too.
    let link = walk.link(&account).await;
    let mut browser = walk.browser();
    let authorize = browser.reach_provider(&link).await;
    let back = browser.decide(&authorize, "user-1", "deny").await;
    assert_eq!(
        landing(&browser.open(&back).await)["error"],
        "access_denied"
    );
    assert_eq!(walk.count(Counter::TokenRequests), 0);
}

#[tokio::test]
async fn an_exchange_that_fails_says_how() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let server_error = FaultKind::Fail {
        status: 503,
        body: None,
    };
    let invalid_grant = FaultKind::OauthError {
        code: "invalid_grant".to_owned(),
    };
    let mut endings = Vec::new();
    for (name, kind) in [
        ("503", server_error),
        ("invalid_grant", invalid_grant),
        ("html", FaultKind::Html),
        ("garbage", FaultKind::Garbage),
        (
            "error in 200",
            FaultKind::ErrorIn200 {
                code: "bad_verification_code".to_owned(),
            },
        ),
        ("cut", FaultKind::DropAfterActing),
        ("10 MiB", FaultKind::Big { bytes: 10 << 20 }),
    ] {
        walk.fault(Target::Exchange, kind);
        let link = walk.link(&account).await;
        let before = walk.count(Counter::TokenRequests);
        let landed = walk.browser().connect(&link, "user-1").await;
        assert_eq!(
            walk.count(Counter::TokenRequests),
            before + 1,
            "a code is sent once: {name}"
        );
        endings.push(format!("{name}: {}", landed["error"]));
    }
    insta::assert_snapshot!(endings.join("\n"), @r#"
    503: provider_unavailable
    invalid_grant: token_exchange_failed
    html: token_exchange_failed
    garbage: token_exchange_failed
    error in 200: token_exchange_failed
    cut: token_exchange_failed
    10 MiB: token_exchange_failed
    "#);
    let path = format!("/api/v1/accounts/{account}/integrations");
    let integrations = walk.partner.client.get(&path).await.data();
    assert_eq!(integrations["integrations"], json!([]));
}

#[tokio::test]
async fn a_slow_provider_shows_a_page_that_goes_on_by_itself() {
    let walk = Walk::with(&quick()).await;
    let account = walk.partner.account("user-1").await;
    walk.fault(Target::Exchange, FaultKind::Hang);
    let link = walk.link(&account).await;
    let mut browser = walk.browser();
    let back = browser.reach_callback(&link, "user-1").await;
    let sent_on = browser.open(&back).await;
    let page = sent_on.header("location").to_owned();
    assert_eq!(page, format!("{}/status", link.page));
    let waiting = browser.open(&page).await;
    assert_eq!(waiting.status, 200);
    let html = String::from_utf8(waiting.body.to_vec()).unwrap();
    assert!(
        html.contains(&format!("http-equiv=\"refresh\" content=\"2;url={page}\"")),
        "{html}"
    );
    assert!(html.contains("role=\"status\""));
    // A reload of the callback leads there too, and does nothing else.
    let again = browser.open(&back).await;
    assert_eq!(again.status, 400);
    assert!(
        String::from_utf8(again.body.to_vec())
            .unwrap()
            .contains(&page)
    );
    walk.sandbox.clear_faults();
    assert_eq!(browser.wait(&page).await["status"], "success");
    assert_eq!(walk.count(Counter::TokenRequests), 1);
}

#[tokio::test]
async fn a_url_taken_off_the_list_is_not_gone_to() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let mut browser = walk.browser();
    let back = browser.reach_callback(&link, "user-1").await;
    let list = json!({"redirect_urls": []});
    walk.partner
        .client
        .put("/api/v1/partner/redirect_urls", list)
        .await
        .data();
    let landed = browser.open(&back).await;
    assert_eq!(
        (landed.status.as_u16(), landed.header("location")),
        (200, "")
    );
    assert_eq!(walk.status(&link).await, "completed");
}

#[tokio::test]
async fn what_a_partner_puts_into_its_url_stays() {
    let walk = Walk::new().await;
    let url = format!("{REDIRECT}?tenant=7");
    let list = json!({"redirect_urls": [url]});
    walk.partner
        .client
        .put("/api/v1/partner/redirect_urls", list)
        .await
        .data();
    let account = walk.partner.account("a b&c=d").await;
    let link = walk.link_with(&account, json!({"redirect_url": url})).await;
    let mut browser = walk.browser();
    let back = browser.reach_callback(&link, "user-1").await;
    let landed = browser.open(&back).await;
    let location = Url::parse(landed.header("location")).unwrap();
    assert!(
        location
            .query()
            .unwrap()
            .starts_with("tenant=7&status=success&")
    );
    assert_eq!(landing(&landed)["account_id"], "a b&c=d");
}

#[tokio::test]
async fn connecting_again_keeps_the_integration() {
    let walk = Walk::new().await;
    let account = walk.connected("user-1").await;
    let path = format!("/api/v1/accounts/{account}/integrations");
    let id = async || {
        let seen = walk.partner.client.get(&path).await.data();
        assert_eq!(seen["integrations"].as_array().unwrap().len(), 1);
        seen["integrations"][0]["id"].clone()
    };
    let before = id().await;
    walk.connect(&account, "user-1").await;
    assert_eq!(id().await, before);
}
