//! What one process changes the others see within 5 s.

use latchkey_tests::{Fleet, Server, ServerOptions, until};

/// A key that is revoked, and a partner that is suspended, through commands beside the processes: both APIs
/// refuse them soon, though both had looked them up before.
#[tokio::test]
async fn revoked_keys_are_refused_everywhere() {
    let fleet = Fleet::start().await;
    let process = async |role| Server::join(&fleet, ServerOptions::default().role(role)).await;
    let apis = [process("api").await, process("api").await];
    let partner = apis[0].partner("test").await;
    let status = async |api: &Server| {
        let url = format!("{}/api/v1/partner", api.url);
        api.http
            .send("GET", &url, &partner.auth(), None)
            .await
            .status
    };
    for api in &apis {
        assert_eq!(status(api).await, 200);
    }
    let suspended = apis[0]
        .command(&["partner", "suspend", &partner.id], "")
        .await;
    assert_eq!(suspended.code, 0, "{suspended:?}");
    for api in &apis {
        until("a refusal", || async {
            (status(api).await == 403).then_some(())
        })
        .await;
    }
    let resumed = apis[0]
        .command(&["partner", "resume", &partner.id], "")
        .await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let keys = apis[0].command(&["keys", "list", &partner.id], "").await;
    let key: serde_json::Value = serde_json::from_str(keys.stdout.lines().next().unwrap()).unwrap();
    let key = key["id"].as_str().unwrap();
    let revoked = apis[0]
        .command(&["keys", "revoke", &partner.id, key], "")
        .await;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    for api in &apis {
        until("a refusal", || async {
            (status(api).await == 401).then_some(())
        })
        .await;
    }
}
