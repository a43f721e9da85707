//! What an end user sees, and what a stranger's browser does not get.

use std::time::Duration;

use axum::response::IntoResponse;
use http::{Method, header::CONTENT_SECURITY_POLICY};
use regex::Regex;
use serde_json::json;

use super::{Escaped, Page, STYLE};
use crate::{
    testing::{Answer, TestApi, sandbox_config},
    walking::{REDIRECT, Walk},
};

const OVER: Duration = Duration::from_secs(31 * 60);

/// The words of a page, a line each block.
fn words(page: &Answer) -> String {
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let body = html.split_once("<main>").unwrap().1;
    let blocks = Regex::new("</(h1|p|li|button)>")
        .unwrap()
        .replace_all(body, "\n");
    let text = Regex::new("<[^>]*>").unwrap().replace_all(&blocks, "");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    format!("{}\n{}", page.status, lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn markup_and_disguise_do_not_pass() {
    let nasty = "<a href=\"x\">'&\u{202e}gpj.exe\0";
    let shown = Escaped(nasty).to_string();
    assert_eq!(
        shown,
        "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{fffd}gpj.exe\u{fffd}"
    );
    let unseen = Escaped("Ac\u{200b}me\u{61c}\u{e0041}").to_string();
    assert_eq!(unseen, "Ac\u{fffd}me\u{fffd}\u{fffd}");
}

#[test]
fn nothing_comes_from_elsewhere_and_no_frame_shows_it() {
    let response = Page::new("Hello", String::new()).into_response();
    let policy = response.headers()[CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
}

#[tokio::test]
async fn the_page_says_who_asks_whom_for_what() {
    let walk = Walk::new().await;
    let body = json!({"external_id": "user-1", "display_name": "Ada <Lovelace>"});
    let made = walk
        .partner
        .client
        .post("/api/v1/accounts", body)
        .await
        .data();
    let account = made["id"].as_str().unwrap();
    let scopes = json!({"scopes": ["messages.read", "messages.write", "odd:scope"]});
    let link = walk.link_with(account, scopes).await;
    let page = walk.browser().open(&link.page).await;
    insta::assert_snapshot!(words(&page), @r#"
    200 OK
    Acme wants to connect to your Sandbox account
    Acme (https://example.com) asks to use a Sandbox account for its user Ada &lt;Lovelace&gt;.
    It asks to:
    read your data in api (profile.read)
    read your data in api (messages.read)
    act for you in api (messages.write)
    what Sandbox calls odd:scope
    Sandbox will show you what it grants and ask you. Go on only if you started this at Acme yourself and are Ada &lt;Lovelace&gt; there: whoever sent you a link like this otherwise would get access to your account.
    Continue to Sandbox
    You can end the access at any time, at Acme or in your Sandbox account.
    "#);
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        html.contains("lang=\"en\"")
            && !html.contains("<script")
            && !html.contains("src=")
            && !html.contains("href=")
    );
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(
        page.header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    // Looking changes nothing.
    assert_eq!(walk.status(&link).await, "pending");
}

#[tokio::test]
async fn the_cookie_is_for_this_browser_and_session_alone() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let page = walk.browser().open(&link.page).await;
    let secret = Regex::new("=[A-Za-z0-9_-]{43}\\.[A-Za-z0-9_-]{43};").unwrap();
    let name = Regex::new("[0-9a-f]{32}").unwrap();
    let cookie = page.header("set-cookie");
    assert!(secret.is_match(cookie), "{cookie}");
    let shown = secret.replace(cookie, "=<secret>;").into_owned();
    insta::assert_snapshot!(name.replace(&shown, "<session>"), @r#"
    latchkey-<session>=<secret>; Path=/; Max-Age=2400; HttpOnly; SameSite=Lax
    "#);
}

#[tokio::test]
async fn on_https_no_other_host_can_set_the_cookie() {
    let api = TestApi::with(&[("public_url", "https://keys.example.com")]).await;
    let acme = api.partner("Acme").await;
    acme.client
        .post("/api/v1/auth_configs", sandbox_config())
        .await
        .data();
    let account = acme.account("user-1").await;
    let body = json!({"provider": "sandbox", "redirect_url": REDIRECT});
    let begun = acme
        .client
        .post(&format!("/api/v1/accounts/{account}/connect"), body)
        .await
        .data();
    let url = begun["connect_url"].as_str().unwrap();
    let path = url.strip_prefix("https://keys.example.com").unwrap();
    let page = api.anyone().get(path).await;
    let cookie = page.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-latchkey-") && cookie.contains("; Secure"),
        "{cookie}"
    );
    assert!(
        cookie.contains("; Path=/;") && !cookie.contains("Domain"),
        "{cookie}"
    );
    assert!(
        page.header("strict-transport-security")
            .starts_with("max-age=")
    );
}

#[tokio::test]
async fn nobody_is_led_past_the_page() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    // A form on another site: the cookie is not sent along.
    let mut stranger = walk.browser();
    let refused = stranger.press(&link.page).await;
    insta::assert_snapshot!(words(&refused), @r#"
    403 Forbidden
    Cookies are needed here
    Your browser did not send the cookie that this page set, so we cannot tell that it was you who pressed the button. Allow cookies for this site and open the link again.
    Open it again
    "#);
    // A browser that sends it all the same says where the form was.
    let mut browser = walk.browser();
    browser.open(&link.page).await;
    let (name, value) = browser.cookies.iter().next().unwrap();
    let client = walk.api.anyone().with("cookie", &format!("{name}={value}"));
    let client = client.with("sec-fetch-site", "cross-site");
    assert_eq!(client.send(Method::POST, &link.page, "").await.status, 403);
    // Nor does a cookie of another session help.
    let other = walk.link(&account).await;
    assert_eq!(browser.press(&other.page).await.status, 403);
    assert_eq!(walk.status(&link).await, "pending");
    assert_eq!(walk.status(&other).await, "pending");
    assert_eq!(browser.press(&link.page).await.status, 303);
    assert_eq!(walk.status(&link).await, "authorizing");
}

#[tokio::test]
async fn the_link_works_again_in_the_same_browser_only() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let mut browser = walk.browser();
    let first = browser.reach_callback(&link, "user-1").await;
    let other = walk.browser().open(&link.page).await;
    insta::assert_snapshot!(words(&other), @r#"
    403 Forbidden
    This link was opened in another browser
    Go on there, or go back to where you came from and start again. If you did not start this yourself, close this page.
    "#);
    // Back, and once more: the state before is dead.
    let second = browser.reach_callback(&link, "user-1").await;
    assert_eq!(browser.open(&first).await.status, 400);
    assert_eq!(walk.status(&link).await, "authorizing");
    assert_eq!(browser.open(&second).await.status, 303);
    assert_eq!(walk.status(&link).await, "completed");
    let again = browser.open(&link.page).await;
    insta::assert_snapshot!(words(&again), @r#"
    410 Gone
    This link was used
    It works once. Go back to where you came from to see how it went, or to start again.
    "#);
}

#[tokio::test]
async fn links_that_lead_nowhere_say_so() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let mut browser = walk.browser();
    let mut unknown = vec!["/connect/x".to_owned(), "/connect/x/status".to_owned()];
    unknown.push(format!("/connect/{}", "x".repeat(4000)));
    for path in unknown {
        assert_eq!(browser.open(&path).await.status, 404, "{path}");
    }
    let link = walk.link(&account).await;
    browser.open(&link.page).await;
    walk.api.advance(OVER);
    let late = browser.open(&link.page).await;
    insta::assert_snapshot!(words(&late), @r#"
    410 Gone
    This link has expired
    It was good for a limited time. Go back to where you came from and start again.
    Back
    "#);
    let html = String::from_utf8(late.body.to_vec()).unwrap();
    assert!(html.contains(&format!(
        "{REDIRECT}?status=error&amp;error=session_expired&amp;"
    )));
    assert_eq!(browser.press(&link.page).await.status, 410);
    assert_eq!(walk.status(&link).await, "expired session_expired");
}

#[tokio::test]
async fn a_partner_or_client_that_is_switched_off_connects_nobody() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let path = format!("/operator/partners/{}", walk.partner.id);
    let suspend = |status: &'static str| {
        let (operator, path) = (walk.api.operator(), path.clone());
        async move {
            operator
                .patch(&path, json!({"status": status}))
                .await
                .data()
        }
    };
    suspend("suspended").await;
    let refused = walk.browser().open(&link.page).await;
    insta::assert_snapshot!(words(&refused), @r#"
    403 Forbidden
    This cannot be connected now
    The application that sent you here, or its connection to this service, is switched off. Go back and ask there.
    "#);
    suspend("active").await;
    assert_eq!(walk.browser().open(&link.page).await.status, 200);
    let account_path = format!("/api/v1/accounts/{account}");
    walk.partner.client.delete(&account_path).await.data();
    assert_eq!(walk.browser().open(&link.page).await.status, 410);
}

#[tokio::test]
async fn the_status_page_is_its_browsers_own() {
    let walk = Walk::new().await;
    let account = walk.partner.account("user-1").await;
    let link = walk.link(&account).await;
    let status = format!("{}/status", link.page);
    let mut browser = walk.browser();
    browser.reach_provider(&link).await;
    assert_eq!(walk.browser().open(&status).await.status, 403);
    let back = browser.open(&status).await;
    assert_eq!(
        (back.status.as_u16(), back.header("location")),
        (303, link.page.as_str())
    );
}
