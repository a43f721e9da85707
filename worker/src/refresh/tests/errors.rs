//! Errors that a provider or its client's owner must answer for: each class once, and what follows.

use std::time::Duration;

use latchkey_domain::states::{AuthConfigStatus, GrantState};
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use latchkey_store::{AuthConfigChange, NewCredentials};

use super::{
    super::NotFresh,
    rig::{Kind, LIFE, Rig, fresh, reauth, tokens, unavailable},
};

#[tokio::test]
async fn invalid_grant_ends_it_for_all_who_ask() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.sandbox.revoke_all(None);
    assert_eq!(reauth(fresh(&process, grant).await), "invalid_grant");
    assert_eq!(reauth(fresh(&process, grant).await), "invalid_grant");
    assert_eq!(rig.count(Counter::TokenRequests), 1);
    let row = rig.row(grant).await;
    assert!(row.state == GrantState::NeedsReauth && !row.in_doubt);
    assert_eq!((row.due_at, row.wake_at), (None, None));
    let text = rig.ctx.metrics.encode();
    assert!(
        text.contains(r#"latchkey_needs_reauth_total{provider="strict",reason="invalid_grant"} 1"#)
    );
}

#[tokio::test]
async fn a_429_is_waited_out_and_leaves_no_doubt() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.next_refresh(FaultKind::RateLimit { retry_after_s: 120 });
    assert_eq!(
        unavailable(fresh(&process, grant).await),
        Duration::from_secs(120)
    );
    assert!(!rig.row(grant).await.in_doubt);
    rig.pass(119);
    assert_eq!(
        unavailable(fresh(&process, grant).await),
        Duration::from_secs(1)
    );
    assert_eq!(
        rig.count(Counter::TokenRequests),
        1,
        "the cool-down is shared"
    );
    rig.pass(1);
    assert_eq!(fresh(&process, grant).await.unwrap().version, 2);
}

#[tokio::test]
async fn an_error_inside_a_200_is_an_error() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    let code = |code: &str| FaultKind::ErrorIn200 {
        code: code.to_owned(),
    };
    rig.next_refresh(code("temporarily_unavailable"));
    assert!(unavailable(fresh(&process, grant).await) <= Duration::from_secs(1));
    let row = rig.row(grant).await;
    assert!(!row.in_doubt && row.failures == 1 && row.state == GrantState::Active);
    rig.pass(1);
    rig.next_refresh(code("invalid_grant"));
    assert_eq!(reauth(fresh(&process, grant).await), "invalid_grant");
}

#[tokio::test]
async fn an_error_that_nobody_knows_is_permanent_only_after_three() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    for _ in 0..2 {
        rig.next_refresh(FaultKind::OauthError {
            code: "full_moon".to_owned(),
        });
        unavailable(fresh(&process, grant).await);
        rig.pass(900);
    }
    rig.next_refresh(FaultKind::OauthError {
        code: "full_moon".to_owned(),
    });
    assert_eq!(reauth(fresh(&process, grant).await), "invalid_grant");
    assert!(
        rig.row(grant)
            .await
            .last_failure
            .unwrap()
            .starts_with("full_moon")
    );
}

#[tokio::test]
async fn a_refused_client_pauses_the_auth_config_and_no_grant() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, one, other) = (
        rig.process().await,
        rig.expired().await,
        rig.expired().await,
    );
    rig.next_refresh(FaultKind::OauthError {
        code: "invalid_client".to_owned(),
    });
    for grant in [one, other] {
        match fresh(&process, grant).await {
            Err(NotFresh::Operator { reason }) => assert_eq!(reason, "invalid_client"),
            outcome => panic!("{outcome:?}"),
        }
        assert_eq!(rig.row(grant).await.state, GrantState::Active);
    }
    assert_eq!(
        rig.count(Counter::TokenRequests),
        1,
        "the other is not even asked for"
    );
    // Repaired: everything goes on at once.
    let (row, store, now) = (rig.row(one).await, &rig.ctx.store, rig.ctx.now());
    let (owner, config) = (row.partner_id, row.auth_config_id);
    let enabled = AuthConfigStatus::Enabled;
    assert!(
        store
            .set_auth_config_status(owner, config, enabled, None, now)
            .await
            .unwrap()
    );
    assert_eq!(store.wake_grants_of(config, now).await.unwrap(), 1);
    process.protocol.clients.forget(owner, config).await;
    for grant in [one, other] {
        assert_eq!(fresh(&process, grant).await.unwrap().version, 2);
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_leaves_no_doubt() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    let Rig {
        sandbox,
        ctx,
        clock,
        ..
    } = rig;
    sandbox.stop().await;
    unavailable(fresh(&process, grant).await);
    let row = ctx.store.load_grant(grant).await.unwrap().unwrap().row;
    assert!(!row.in_doubt && row.last_attempt.is_some() && row.failures == 1);
    assert!(row.retry_at.unwrap() <= ctx.now() + Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    unavailable(fresh(&process, grant).await);
    assert_eq!(
        ctx.store
            .load_grant(grant)
            .await
            .unwrap()
            .unwrap()
            .row
            .failures,
        2
    );
}

#[tokio::test]
async fn a_grant_without_a_refresh_token_ends_with_its_token() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    let seeded = rig
        .sandbox
        .seed(&latchkey_sandbox::Seed::new(1))
        .unwrap()
        .remove(0);
    let now = rig.ctx.now();
    let mut bare = tokens(&seeded, now, now + LIFE);
    bare.refresh = None;
    let connection = rig.row(grant).await.connection_id;
    rig.connect(connection, grant, 2, &bare).await;
    assert_eq!(fresh(&process, grant).await.unwrap().version, 2);
    rig.clock.advance(LIFE);
    assert_eq!(reauth(fresh(&process, grant).await), "expired");
    assert_eq!(
        process
            .refresh_batch(&[(grant.partner_id, grant.id)], true)
            .await
            .left,
        1
    );
    assert_eq!(rig.count(Counter::TokenRequests), 0);
}

#[tokio::test]
async fn credentials_that_were_replaced_meanwhile_pause_nothing() {
    let rig = Rig::new(Kind::Steady).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.sandbox.change(|s| s.token_hold_ms = 200).unwrap();
    let refused = FaultKind::OauthError {
        code: "invalid_client".to_owned(),
    };
    let refused = Fault::new(Target::Refresh, refused).after_acting();
    rig.sandbox.fault(refused).unwrap();
    let caller = tokio::spawn({
        let process = process.clone();
        async move { fresh(&process, grant).await }
    });
    rig.until(Counter::TokenRequests, 1).await;
    let (row, store) = (rig.row(grant).await, &rig.ctx.store);
    let (owner, id) = (row.partner_id, row.auth_config_id);
    let old = store.get_auth_config(owner, id).await.unwrap().unwrap();
    let change = AuthConfigChange {
        credentials: Some(NewCredentials {
            seen: old.version,
            client_id: old.client_id,
            client_secret: old.client_secret,
        }),
        ..AuthConfigChange::default()
    };
    let changed = store.update_auth_config(owner, id, &change, rig.ctx.now());
    changed.await.unwrap().unwrap();
    assert!(unavailable(caller.await.unwrap()) <= Duration::from_secs(1));
    let config = store.get_auth_config(owner, id).await.unwrap().unwrap();
    assert_eq!(config.status, AuthConfigStatus::Enabled);
    rig.pass(1);
    assert_eq!(fresh(&process, grant).await.unwrap().version, 2);
}
