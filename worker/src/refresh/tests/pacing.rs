//! What keeps refreshes from adding to trouble: cool-downs, breakers, retry budgets, and the probe that ends a
//! pause.

use std::time::Duration;

use latchkey_domain::{
    refresh::COOL_DOWN,
    states::{AuthConfigStatus, GrantState},
};
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};

use super::rig::{Kind, Rig, fresh, unavailable};

#[tokio::test]
async fn a_path_that_refuses_every_token_costs_one_refresh_in_the_cool_down() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    let after_401 = |version| process.after_401(grant.partner_id, grant.id, version);
    // The first refusal is mended at once; so is the next one, if the new token served between them.
    assert_eq!(after_401(1).await.unwrap().version, 2);
    assert_eq!(after_401(2).await.unwrap().version, 3);
    // What new tokens did not mend is not tried again for a while, however many calls ask.
    process.not_mended(grant.partner_id, grant.id, 3).await;
    for _ in 0..5 {
        let wait = unavailable(after_401(3).await);
        assert!(
            wait <= COOL_DOWN && wait > Duration::from_secs(20),
            "{wait:?}"
        );
    }
    assert_eq!(rig.count(Counter::TokenRefresh), 2);
    // The token itself goes on serving.
    assert_eq!(fresh(&process, grant).await.unwrap().version, 3);
    rig.pass(COOL_DOWN.as_secs());
    assert_eq!(after_401(3).await.unwrap().version, 4);
}

#[tokio::test]
async fn a_401_tries_out_a_generation_in_doubt_once_it_is_quiet() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    rig.next_refresh(FaultKind::DropBefore);
    let asked = [(grant.partner_id, grant.id)];
    assert_eq!(process.refresh_batch(&asked, true).await.failed, 1);
    assert!(rig.row(grant).await.in_doubt);
    unavailable(process.after_401(grant.partner_id, grant.id, 1).await);
    assert_eq!(rig.count(Counter::TokenRequests), 1);
    // Its token would live for long by the clock, so nothing but the refusal asks for this.
    rig.pass(120);
    assert_eq!(process.refresh_batch(&asked, false).await.left, 1);
    let token = process.after_401(grant.partner_id, grant.id, 1).await;
    assert_eq!(token.unwrap().version, 2);
    assert!(!rig.row(grant).await.in_doubt);
}

#[tokio::test]
async fn an_endpoint_that_fails_for_all_is_left_alone_and_probed() {
    let rig = Rig::new(Kind::Steady).await;
    let process = rig.process().await;
    let mut grants = Vec::new();
    for _ in 0..30 {
        grants.push(rig.expired().await);
    }
    let mut fault = Fault::new(
        Target::Refresh,
        FaultKind::Fail {
            status: 503,
            body: None,
        },
    );
    fault.count = 1000;
    rig.sandbox.fault(fault).unwrap();
    for grant in &grants {
        unavailable(fresh(&process, *grant).await);
    }
    assert_eq!(
        rig.count(Counter::TokenRequests),
        20,
        "then the breaker opened"
    );
    let held = rig.row(grants[29]).await;
    assert!(
        held.last_attempt.is_none() && held.failures == 0,
        "nothing was claimed"
    );
    // Ten seconds later one goes out; it fails, and the others still do not.
    rig.pass(10);
    unavailable(fresh(&process, grants[28]).await);
    unavailable(fresh(&process, grants[29]).await);
    assert_eq!(rig.count(Counter::TokenRequests), 21);
    rig.sandbox.clear_faults();
    rig.pass(10);
    for grant in &grants[25..28] {
        assert_eq!(fresh(&process, *grant).await.unwrap().version, 2);
    }
}

#[tokio::test]
async fn due_retries_keep_to_their_budget() {
    let rig = Rig::with(Kind::Steady, |config| config.refresh.concurrency = 1).await;
    let process = rig.process().await;
    let mut grants = Vec::new();
    for _ in 0..60 {
        grants.push(rig.expired().await);
    }
    let asked: Vec<_> = grants.iter().map(|g| (g.partner_id, g.id)).collect();
    let mut fault = Fault::new(Target::Refresh, FaultKind::RateLimit { retry_after_s: 1 });
    fault.count = 60;
    rig.sandbox.fault(fault).unwrap();
    assert_eq!(process.refresh_batch(&asked, false).await.failed, 60);
    // The second ones are retries: 20 were saved up, and the first ones paid in 6, which found no room.
    rig.pass(3600);
    let mut second = process.refresh_batch(&asked, false).await;
    assert_eq!((second.refreshed, second.left), (20, 40));
    // What was put off comes later: one in five seconds.
    rig.pass(62);
    second = process.refresh_batch(&asked, false).await;
    assert_eq!(second.refreshed, 12);
}

#[tokio::test]
async fn a_paused_auth_config_is_tried_out_and_resumes() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, one, other) = (
        rig.process().await,
        rig.expired().await,
        rig.expired().await,
    );
    let refuse = || {
        rig.next_refresh(FaultKind::OauthError {
            code: "invalid_client".to_owned(),
        });
    };
    refuse();
    let asked = [(one.partner_id, one.id)];
    assert_eq!(process.refresh_batch(&asked, false).await.failed, 1);
    let row = rig.row(one).await;
    let status = async || {
        let config = rig
            .ctx
            .store
            .get_auth_config(row.partner_id, row.auth_config_id);
        config.await.unwrap().unwrap().status
    };
    assert_eq!(status().await, AuthConfigStatus::Paused);
    // Nobody asks for five minutes.
    let others = [(other.partner_id, other.id)];
    assert_eq!(process.refresh_batch(&others, false).await.left, 1);
    assert_eq!(rig.count(Counter::TokenRequests), 1);
    // Then one is tried, in vain: it stays paused, without another alert.
    rig.pass(301);
    refuse();
    process
        .protocol
        .clients
        .forget(row.partner_id, row.auth_config_id)
        .await;
    assert_eq!(process.refresh_batch(&others, false).await.failed, 1);
    assert_eq!(status().await, AuthConfigStatus::Paused);
    assert!(
        rig.ctx
            .metrics
            .encode()
            .contains("latchkey_auth_configs_paused_total{provider=\"strict\"} 1")
    );
    // The operator repaired it at the provider: the next try resumes everything.
    rig.pass(1000);
    process
        .protocol
        .clients
        .forget(row.partner_id, row.auth_config_id)
        .await;
    assert_eq!(process.refresh_batch(&others, false).await.refreshed, 1);
    assert_eq!(status().await, AuthConfigStatus::Enabled);
    assert_eq!(fresh(&process, one).await.unwrap().version, 2);
    assert_eq!(rig.row(one).await.state, GrantState::Active);
}
