//! Who may use each route: every operation of the OpenAPI documents must stand in [`KNOWN`], and is tried
//! without a key and with another partner's ids. A route that nobody thought about fails here.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use latchkey_domain::{JobId, RequestId, states::JobState};
use latchkey_jobs::kinds::RevokeGrant;
use latchkey_store::JobRow;
use serde_json::{Value, json};

use crate::{
    durable,
    testing::{Answer, Client, TestApi, TestPartner},
};

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// Anyone: it shows nothing of any partner.
    Anyone,
    /// A partner, by its key.
    Partner,
    /// The operator, by its token.
    Operator,
}
use Who::{Anyone, Operator, Partner};

/// Every route: who may use it, and a body that is right.
const KNOWN: &[(Who, &str, &str)] = &[
    (Anyone, "GET /api/v1/health", ""),
    (Partner, "GET /api/v1/partner", ""),
    (Partner, "PATCH /api/v1/partner", "{}"),
    (Partner, "POST /api/v1/partner/keys", "{}"),
    (Partner, "GET /api/v1/partner/keys", ""),
    (Partner, "DELETE /api/v1/partner/keys/{key_id}", ""),
    (Partner, "GET /api/v1/partner/webhook_secret", ""),
    (Partner, "POST /api/v1/partner/webhook_secret", ""),
    (Partner, "GET /api/v1/partner/redirect_urls", ""),
    (
        Partner,
        "PUT /api/v1/partner/redirect_urls",
        r#"{"redirect_urls":[]}"#,
    ),
    (Partner, "POST /api/v1/accounts", r#"{"external_id":"x"}"#),
    (Partner, "GET /api/v1/accounts", ""),
    (Partner, "GET /api/v1/accounts/{account_id}", ""),
    (
        Partner,
        "PATCH /api/v1/accounts/{account_id}",
        r#"{"display_name":"x"}"#,
    ),
    (Partner, "DELETE /api/v1/accounts/{account_id}", ""),
    (
        Partner,
        "POST /api/v1/auth_configs",
        r#"{"toolkit":{"slug":"sandbox"},"authConfig":{"type":"use_custom_auth"}}"#,
    ),
    (Partner, "GET /api/v1/auth_configs", ""),
    (Partner, "GET /api/v1/auth_configs/{auth_config_id}", ""),
    (
        Partner,
        "PATCH /api/v1/auth_configs/{auth_config_id}",
        r#"{"displayName":"x"}"#,
    ),
    (
        Partner,
        "PATCH /api/v1/auth_configs/{auth_config_id}/status",
        r#"{"status":"DISABLED"}"#,
    ),
    (Partner, "DELETE /api/v1/auth_configs/{auth_config_id}", ""),
    (
        Partner,
        "POST /api/v1/accounts/{account_id}/connect",
        r#"{"provider":"sandbox","redirect_url":"https://app.example.com/cb"}"#,
    ),
    (
        Partner,
        "GET /api/v1/accounts/{account_id}/connect/{session_id}",
        "",
    ),
    (
        Partner,
        "POST /api/v1/connect-sessions/{session_id}/complete",
        r#"{"completion_code":"x","external_id":"x"}"#,
    ),
    (Anyone, "GET /api/v1/connect/callback/{auth_config_id}", ""),
    (
        Partner,
        "GET /api/v1/accounts/{account_id}/integrations",
        "",
    ),
    (
        Partner,
        "PATCH /api/v1/accounts/{account_id}/integrations/{provider}",
        r#"{"enabled_services":{"profile.read":false}}"#,
    ),
    (
        Partner,
        "DELETE /api/v1/accounts/{account_id}/integrations/{provider}",
        "",
    ),
    (
        Partner,
        "POST /api/v1/accounts/{account_id}/integrations/{provider}/refresh",
        "",
    ),
    (
        Partner,
        "POST /api/v1/connected_accounts",
        r#"{"authConfig":{"id":"x"},"connection":{"state":{"authScheme":"OAUTH2","val":{}},"eUID":"x"}}"#,
    ),
    (Partner, "GET /api/v1/connected_accounts", ""),
    (
        Partner,
        "POST /api/v1/connected_accounts/link",
        r#"{"authConfigId":"x"}"#,
    ),
    (
        Partner,
        "GET /api/v1/connected_accounts/grouped-by-toolkit",
        "",
    ),
    (
        Partner,
        "GET /api/v1/connected_accounts/{connected_account_id}",
        "",
    ),
    (
        Partner,
        "PATCH /api/v1/connected_accounts/{connected_account_id}",
        r#"{"displayName":"x"}"#,
    ),
    (
        Partner,
        "DELETE /api/v1/connected_accounts/{connected_account_id}",
        "",
    ),
    (
        Partner,
        "PATCH /api/v1/connected_accounts/{connected_account_id}/status",
        r#"{"enabled":false}"#,
    ),
    (
        Partner,
        "POST /api/v1/connected_accounts/{connected_account_id}/refresh",
        "",
    ),
    (Partner, "POST /api/v1/external-users", r#"{"name":"x"}"#),
    (Partner, "GET /api/v1/external-users", ""),
    // What has no name answers with nothing; its own test shows that another partner's name does too.
    (
        Partner,
        "GET /api/v1/external-users/username/{username}",
        "",
    ),
    (
        Partner,
        "PUT /api/v1/external-users/{external_user_id}/toggle-active",
        "",
    ),
    // Toolkits and tools are the server's own, the same for all.
    (Partner, "GET /api/v1/toolkits", ""),
    (Partner, "GET /api/v1/toolkits/categories", ""),
    (Partner, "GET /api/v1/toolkits/byId/{toolkit}", ""),
    (Partner, "GET /api/v1/toolkits/{toolkit}", ""),
    (Partner, "GET /api/v1/tools", ""),
    (Partner, "GET /api/v1/tools/byId/{tool}", ""),
    (Partner, "POST /api/v1/tools/execute/{tool}", ""),
    (Partner, "GET /api/v1/usage/balance", ""),
    (Partner, "GET /api/v1/integrations", ""),
    (Partner, "GET /api/v1/jobs", ""),
    (Partner, "GET /api/v1/jobs/{job_id}", ""),
    (Partner, "DELETE /api/v1/jobs/{job_id}", ""),
    (
        Partner,
        "POST /api/v1/calls",
        r#"{"account_id":"ext:x","provider":"sandbox","method":"GET","path":"/echo"}"#,
    ),
    (Partner, "GET /api/v1/calls", ""),
    (Partner, "GET /api/v1/usage", ""),
    (Partner, "GET /api/v1/usage/statement", ""),
    (Partner, "GET /api/v1/me", ""),
    (Partner, "GET /api/v1/tools/search/{query}", ""),
    (Partner, "GET /api/v1/tools/provider/{provider_slug}", ""),
    (Partner, "GET /api/v1/tools/service/{service}", ""),
    // Whose account a call is for stands in a header; `routes/calls` has the tests of that.
    (Partner, "GET /api/v1/{provider}/{path}", ""),
    (Partner, "POST /api/v1/{provider}/{path}", ""),
    (Partner, "PUT /api/v1/{provider}/{path}", ""),
    (Partner, "PATCH /api/v1/{provider}/{path}", ""),
    (Partner, "DELETE /api/v1/{provider}/{path}", ""),
    (Partner, "GET /api/v1/proxy/{provider}/{service}/{path}", ""),
    (
        Partner,
        "POST /api/v1/proxy/{provider}/{service}/{path}",
        "",
    ),
    (Partner, "PUT /api/v1/proxy/{provider}/{service}/{path}", ""),
    (
        Partner,
        "PATCH /api/v1/proxy/{provider}/{service}/{path}",
        "",
    ),
    (
        Partner,
        "DELETE /api/v1/proxy/{provider}/{service}/{path}",
        "",
    ),
    (Operator, "POST /operator/partners", "{}"),
    (Operator, "GET /operator/partners", ""),
    (Operator, "GET /operator/partners/{partner_id}", ""),
    (Operator, "PATCH /operator/partners/{partner_id}", "{}"),
    (Operator, "POST /operator/partners/{partner_id}/keys", "{}"),
    (Operator, "GET /operator/partners/{partner_id}/keys", ""),
    (
        Operator,
        "DELETE /operator/partners/{partner_id}/keys/{key_id}",
        "",
    ),
    (Operator, "GET /operator/usage", ""),
    (Operator, "POST /operator/usage/rebuild", "{}"),
    (
        Operator,
        "GET /operator/partners/{partner_id}/connections/{connection_id}",
        "",
    ),
    (Operator, "POST /operator/auth_configs", "{}"),
    (Operator, "GET /operator/auth_configs", ""),
    (Operator, "GET /operator/auth_configs/{auth_config_id}", ""),
    (
        Operator,
        "PATCH /operator/auth_configs/{auth_config_id}",
        "{}",
    ),
    (Operator, "GET /operator/jobs", ""),
    (Operator, "POST /operator/jobs/{job_id}/retry", ""),
    (Operator, "POST /operator/jobs/{job_id}/cancel", ""),
];

/// The operations of a document, as `METHOD /path`.
fn operations(doc: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, item) in doc["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            found.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    found
}

fn known(who: &[Who]) -> impl Iterator<Item = (Method, &'static str, &'static str)> {
    KNOWN
        .iter()
        .filter(move |(w, ..)| who.contains(w))
        .map(|(_, route, body)| {
            let (method, path) = route.split_once(' ').unwrap();
            (method.parse().unwrap(), path, *body)
        })
}

async fn send(client: &Client, method: Method, path: &str, body: &'static str) -> Answer {
    let client = client.with("content-type", "application/json");
    client.send(method, path, body).await
}

/// Fills the placeholders of a path.
fn fill(path: &str, ids: &BTreeMap<&str, String>) -> String {
    let segment = |s: &str| match s.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(name) => ids
            .get(name)
            .unwrap_or_else(|| panic!("no id for {name}"))
            .clone(),
        None => s.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// A service and a path that no provider has: they are nobody's.
const NOTHING: &str = "nothing";

/// One of everything that has an id, of this partner.
async fn one_of_each(api: &TestApi, partner: &TestPartner) -> BTreeMap<&'static str, String> {
    let account = partner.account("theirs").await;
    let connection = api.connection(partner, &account).await;
    let keys = partner.client.get("/api/v1/partner/keys").await.data();
    let kind = RevokeGrant {
        grant: connection.grant.id,
        connection: connection.row.id,
    };
    let job = JobRow {
        visible: true,
        state: JobState::Queued,
        ..durable::row(&api.api, partner.id, RequestId::from_u128(1), &kind).unwrap()
    };
    let job_id = job.id.to_string();
    let begun = partner
        .client
        .post(
            &format!("/api/v1/accounts/{account}/connect"),
            json!({"provider": "sandbox", "redirect_url": "https://app.example.com/cb"}),
        )
        .await
        .data();
    api.api.ctx.store.insert_job(job).await.unwrap();
    BTreeMap::from([
        ("account_id", account),
        ("auth_config_id", connection.row.auth_config_id.to_string()),
        ("connected_account_id", connection.row.id.to_string()),
        ("external_user_id", connection.row.account_id.to_string()),
        ("username", "theirs".to_owned()),
        ("toolkit", NOTHING.to_owned()),
        ("tool", NOTHING.to_owned()),
        ("connection_id", connection.row.id.to_string()),
        ("provider_slug", NOTHING.to_owned()),
        ("query", NOTHING.to_owned()),
        ("key_id", keys["keys"][0]["id"].as_str().unwrap().to_owned()),
        ("job_id", job_id),
        (
            "session_id",
            begun["session_id"].as_str().unwrap().to_owned(),
        ),
        ("provider", connection.row.provider),
        ("service", NOTHING.to_owned()),
        ("path", NOTHING.to_owned()),
    ])
}

/// Ids that nothing has.
fn none_of_each() -> BTreeMap<&'static str, String> {
    let nothing = JobId::from_u128(0x7000_8000_0000_0000_0000).to_string();
    let bare = "00000000-0000-7000-8000-000000000000".to_owned();
    let simple = &nothing["job_".len()..];
    BTreeMap::from([
        ("account_id", bare.clone()),
        ("connected_account_id", bare.clone()),
        ("external_user_id", bare.clone()),
        ("username", "nobody".to_owned()),
        ("toolkit", NOTHING.to_owned()),
        ("tool", NOTHING.to_owned()),
        ("connection_id", bare.clone()),
        ("provider_slug", NOTHING.to_owned()),
        ("query", NOTHING.to_owned()),
        ("session_id", bare),
        ("auth_config_id", format!("ac_{simple}")),
        ("key_id", format!("key_{simple}")),
        ("partner_id", format!("prt_{simple}")),
        ("job_id", nothing.clone()),
        ("provider", "sandbox".to_owned()),
        ("service", NOTHING.to_owned()),
        ("path", NOTHING.to_owned()),
    ])
}

/// A refusal without its request id.
fn refusal(answer: &Answer) -> Value {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    if let Some(error) = body["error"].as_object_mut() {
        error.remove("requestId");
    }
    json!({"status": answer.status.as_u16(), "body": body})
}

#[tokio::test]
async fn every_route_is_known() {
    let api = TestApi::new().await;
    let doc = api.anyone().get("/api/v1/openapi.json").await.json();
    let admin = api.operator().get("/operator/openapi.json").await.json();
    for (doc, who) in [(doc, &[Anyone, Partner][..]), (admin, &[Operator])] {
        let known: BTreeSet<_> = known(who)
            .map(|(m, path, _)| format!("{m} {path}"))
            .collect();
        assert_eq!(
            operations(&doc),
            known,
            "say in KNOWN who may use each route"
        );
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_told_not_even_whether_it_exists() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let mut ids = one_of_each(&api, &acme).await;
    ids.insert("partner_id", acme.id.to_string());
    let nobody = api.anyone();
    let unknown = nobody.with(
        "authorization",
        "Bearer sk_live_000000000000000000000000000000",
    );
    let admin = nobody.at(api.operator().router());
    for (who, clients) in [
        (Partner, vec![nobody.clone(), unknown]),
        (
            Operator,
            vec![
                admin.clone(),
                admin.with("authorization", &format!("Bearer {}", acme.key)),
            ],
        ),
    ] {
        for client in &clients {
            for (method, path, body) in known(&[who]) {
                let answer = send(client, method.clone(), &fill(path, &ids), body).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                assert_eq!(answer.code(), "UNAUTHORIZED", "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn another_partners_ids_answer_as_if_they_were_none() {
    let api = TestApi::new().await;
    let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
    let theirs = one_of_each(&api, &acme).await;
    let mut by_name = theirs.clone();
    by_name.insert("account_id", "ext:theirs".to_owned());
    let mut malformed = none_of_each();
    for id in malformed.values_mut() {
        "%20or%201=1".clone_into(id);
    }
    malformed.insert("provider", "sandbox".to_owned());
    malformed.insert("service", NOTHING.to_owned());
    malformed.insert("path", NOTHING.to_owned());
    let by_id = |path: &str| {
        path.contains('{')
            && !["{username}", "{query}"]
                .iter()
                .any(|free| path.contains(free))
    };
    for (method, path, body) in known(&[Partner]).filter(|(_, path, _)| by_id(path)) {
        let missing = send(
            &other.client,
            method.clone(),
            &fill(path, &none_of_each()),
            body,
        )
        .await;
        assert_eq!(
            missing.status,
            StatusCode::NOT_FOUND,
            "{method} {path}: {}",
            missing.shown()
        );
        for ids in [&theirs, &by_name, &malformed] {
            let path = fill(path, ids);
            let answer = send(&other.client, method.clone(), &path, body).await;
            assert_eq!(refusal(&answer), refusal(&missing), "{method} {path}");
        }
    }
    // Nothing of it was touched.
    for (path, id) in [
        ("accounts", "account_id"),
        ("auth_configs", "auth_config_id"),
    ] {
        acme.client
            .get(&format!("/api/v1/{path}/{}", theirs[id]))
            .await
            .data();
    }
    assert_eq!(
        acme.client.get("/api/v1/partner").await.status,
        StatusCode::OK
    );
}
