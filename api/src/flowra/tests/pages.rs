//! The page behind a link: what it asks first, and connections without a consent page.

use http::Method;
use serde_json::json;

use super::{
    accounts::{PATH, acting, link},
    imports::config_of,
};
use crate::{testing::TestApi, walking::Walk};

/// A provider that needs to know a shop first.
const SHOP: &str = r#"
slug = "acme"
display_name = "Acme"

[[connection_params]]
name = "shop"
label = "Shop"
regex = "[a-z]+"

[[connection_params]]
name = "region"
label = "Region"
default = "eu"
regex = "[a-z]+"

[oauth.authorize]
url = "https://{connection.shop}.acme.example/{connection.region}/authorize"

[oauth.token]
url = "https://acme.example/token"

[[services]]
slug = "api"
base_url = "https://acme.example"

[[services.permissions]]
id = "acme.read"
kind = "read"
scopes = ["read"]
default = true
"#;

#[tokio::test]
async fn the_page_asks_for_what_the_provider_needs_to_know() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("acme.toml"), SHOP).unwrap();
    let api = TestApi::with(&[("catalog_dir", directory.path().to_str().unwrap())]).await;
    let acme = api.partner("Acme").await;
    let config = json!({"toolkit": {"slug": "acme"}, "authConfig": {"type": "use_custom_auth",
        "authScheme": "OAUTH2", "credentials": {"client_id": "c", "client_secret": "s"}}});
    let config = acme
        .client
        .post("/api/v1/auth_configs", config)
        .await
        .data();
    let begin = async |data: serde_json::Value| {
        let body = json!({"authConfigId": config["id"], "connectionData": data});
        acme.client.post(&format!("{PATH}/link"), body).await
    };
    let wrong = begin(json!({"shop": "No Shop"})).await;
    assert_eq!(
        wrong.said(),
        "INVALID_REQUEST connectionData.shop is no Shop"
    );
    let page = async |data: serde_json::Value| {
        let made = begin(data).await.json();
        let url = url::Url::parse(made["redirectUrl"].as_str().unwrap()).unwrap();
        let shown = api.anyone().get(url.path()).await;
        let cookie = shown
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        (
            url.path().to_owned(),
            shown,
            api.anyone().with("cookie", &cookie),
        )
    };
    let (path, shown, browser) = page(json!({})).await;
    let html = shown.shown();
    assert!(
        html.contains("name=\"shop\"") && html.contains("value=\"eu\""),
        "{html}"
    );
    let post = async |form: &str| browser.send(Method::POST, &path, form.to_owned()).await;
    for (form, said) in [
        ("", "Shop is needed."),
        ("shop=%3Cb%3E", "This is no Shop."),
    ] {
        let again = post(form).await;
        assert_eq!(again.status, 400);
        assert!(again.shown().contains(said), "{}", again.shown());
    }
    let sent = post("shop=books&region=us").await;
    assert_eq!(sent.status, 303, "{}", sent.shown());
    assert!(
        sent.header("location")
            .starts_with("https://books.acme.example/us/authorize?")
    );
    // What the partner gave is not asked for.
    let (path, shown, browser) =
        page(json!({"val": {"shop": "toys"}, "authScheme": "OAUTH2"})).await;
    assert!(!shown.shown().contains("name=\"shop\""));
    let sent = browser.send(Method::POST, &path, "").await;
    assert!(
        sent.header("location")
            .starts_with("https://toys.acme.example/eu/authorize?")
    );
    // An import needs all of it at once.
    let import = json!({"authConfig": {"id": config["id"]}, "connection": {"eUID": "ada", "state":
        {"authScheme": "OAUTH2", "val": {"access_token": "x"}}}});
    let refused = acme.client.post(PATH, import).await;
    assert_eq!(
        refused.said(),
        "INVALID_REQUEST connection.state.val.shop is required: Shop"
    );
}

#[tokio::test]
async fn a_key_is_given_on_the_page_and_tried() {
    let walk = Walk::new().await;
    let config = config_of(&walk, "API_KEY").await;
    let (link, made) = link(&walk, "ada", &config).await;
    let shown = walk.api.anyone().get(&link.page).await;
    assert!(
        shown.shown().contains("type=\"password\""),
        "{}",
        shown.shown()
    );
    let cookie = shown
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let browser = walk.api.anyone().with("cookie", &cookie);
    let post = async |form: &str| {
        browser
            .send(Method::POST, &link.page, form.to_owned())
            .await
    };
    assert_eq!(post("").await.status, 400);
    assert_eq!(
        walk.api
            .anyone()
            .send(Method::POST, &link.page, "api_key=x")
            .await
            .status,
        403
    );
    let landed = post("api_key=sandbox-key-ada").await;
    assert_eq!(landed.status, 303, "{}", landed.shown());
    let id = made["connectedAccountId"].as_str().unwrap();
    assert!(
        landed
            .header("location")
            .contains(&format!("connectionId={id}&status=success"))
    );
    let run = acting(&walk, "ada")
        .post("/api/v1/tools/execute/SANDBOX_GET_PROFILE", json!({}))
        .await;
    assert_eq!(run.json()["data"]["sub"], "ada");
    // It works once.
    assert_eq!(walk.api.anyone().get(&link.page).await.status, 410);
    assert_eq!(walk.api.anyone().get("/connect/unknown").await.status, 404);
}

#[tokio::test]
async fn a_wrong_key_fails_and_a_late_link_is_expired() {
    let walk = Walk::new().await;
    let config = config_of(&walk, "API_KEY").await;
    let (wrong, made) = link(&walk, "ada", &config).await;
    let shown = walk.api.anyone().get(&wrong.page).await;
    let cookie = shown
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let browser = walk.api.anyone().with("cookie", &cookie);
    let landed = browser
        .send(Method::POST, &wrong.page, "api_key=wrong")
        .await;
    assert!(
        landed
            .header("location")
            .ends_with("&status=failed&error=credentials_refused")
    );
    let one = format!("{PATH}/{}", made["connectedAccountId"].as_str().unwrap());
    assert_eq!(
        walk.partner.client.get(&one).await.json()["status"],
        "FAILED"
    );
    let (late, made) = link(&walk, "ada", &config).await;
    walk.api.advance(std::time::Duration::from_secs(601));
    assert_eq!(walk.api.anyone().get(&late.page).await.status, 410);
    let one = format!("{PATH}/{}", made["connectedAccountId"].as_str().unwrap());
    assert_eq!(
        walk.partner.client.get(&one).await.json()["status"],
        "EXPIRED"
    );
}
