//! Connections as the operator sees them.

use serde_json::Value;

use crate::walking::Walk;

/// The provider ends a grant when there is one too many: that is said of each connection that it may be.
#[tokio::test]
async fn a_user_s_last_grants_are_warned_of() {
    let entries = tempfile::tempdir().unwrap();
    let entry = "extends = \"sandbox\"\n[oauth.lifetimes]\nmax_live_grants = { count = 2 }\n";
    std::fs::write(entries.path().join("sandbox.toml"), entry).unwrap();
    let walk = Walk::with(&[("catalog_dir", entries.path().to_str().unwrap())]).await;
    let mut accounts = Vec::new();
    for external_id in ["user-1", "user-2"] {
        accounts.push(walk.partner.account(external_id).await);
    }
    walk.connect(&accounts[0], "ada").await;
    walk.connected("somebody-else").await;
    assert_eq!(warning(&walk, &accounts[0]).await, Value::Null);
    walk.connect(&accounts[1], "ada").await;
    for account in &accounts {
        assert_eq!(
            warning(&walk, account).await,
            "Sandbox lets an application hold 2 grants of one user, and there are 2 connections of this user: each \
             consent beyond that ends the oldest."
        );
    }
}

async fn warning(walk: &Walk, account: &str) -> Value {
    let path = format!("/api/v1/accounts/{account}/integrations");
    let seen = walk.partner.client.get(&path).await.data();
    let id = seen["integrations"][0]["id"].as_str().unwrap();
    let path = format!("/operator/partners/{}/connections/{id}", walk.partner.id);
    walk.api.operator().get(&path).await.data()["warning"].clone()
}
