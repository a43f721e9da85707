//! Many want one token: one attempt, whoever waits for whom.

use std::time::Duration;

use futures::future::join_all;
use latchkey_domain::states::GrantState;
use latchkey_sandbox::Counter;
use secrecy::ExposeSecret;

use super::rig::{Kind, LIFE, Rig, fresh};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_of_four_processes_share_one_refresh() {
    let rig = Rig::new(Kind::Strict).await;
    let processes = join_all((0..4).map(|_| rig.process())).await;
    for round in 1..=5 {
        let grant = rig.expired().await;
        let callers = (0..50).map(|n| fresh(&processes[n % 4], grant));
        let tokens: Vec<_> = join_all(callers)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let access = tokens[0].tokens.access.expose_secret();
        assert!(
            tokens
                .iter()
                .all(|t| t.tokens.access.expose_secret() == access)
        );
        assert!(tokens.iter().all(|t| t.version == 2));
        assert_eq!(rig.count(Counter::TokenRefresh), round);
        assert!(rig.works(&tokens[0]).await);
    }
    assert_eq!(rig.count(Counter::RefreshReuse), 0);
    assert_eq!(rig.count(Counter::RefreshOverlap), 0);
}

#[tokio::test]
async fn a_living_token_is_served_without_a_refresh_and_a_warm_one_without_the_store() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    assert_eq!(fresh(&process, grant).await.unwrap().version, 1);
    rig.ctx.store.close().await;
    assert_eq!(fresh(&process, grant).await.unwrap().version, 1);
    assert_eq!(rig.count(Counter::TokenRequests), 0);
    // A second later the row would be read again.
    rig.pass(1);
    fresh(&process, grant).await.unwrap_err();
}

#[tokio::test]
async fn what_another_process_did_shows_after_a_second() {
    let rig = Rig::new(Kind::Strict).await;
    let (one, other, grant) = (rig.process().await, rig.process().await, rig.grant().await);
    assert_eq!(fresh(&one, grant).await.unwrap().version, 1);
    let report = other
        .refresh_batch(&[(grant.partner_id, grant.id)], true)
        .await;
    assert_eq!((report.refreshed, report.failed), (1, 0));
    rig.pass(1);
    assert_eq!(fresh(&one, grant).await.unwrap().version, 2);
    // Another partner's grant is nobody's.
    let stranger = latchkey_domain::PartnerId::from_u128(77);
    assert!(matches!(
        one.fresh(stranger, grant.id).await,
        Err(super::super::NotFresh::Gone)
    ));
}

#[tokio::test]
async fn a_refused_token_is_refreshed_once_for_all_who_used_it() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    let refused = fresh(&process, grant).await.unwrap().version;
    let again = || process.after_401(grant.partner_id, grant.id, refused);
    for token in join_all((0..20).map(|_| again())).await {
        assert_eq!(token.unwrap().version, 2);
    }
    // Who comes late finds the next one there.
    assert_eq!(again().await.unwrap().version, 2);
    assert_eq!(rig.count(Counter::TokenRefresh), 1);
}

#[tokio::test]
async fn a_batch_refreshes_what_is_due_and_leaves_the_rest() {
    let rig = Rig::new(Kind::Strict).await;
    let process = rig.process().await;
    let mut grants = Vec::new();
    for _ in 0..30 {
        grants.push(rig.grant().await);
    }
    let ids: Vec<_> = grants.iter().map(|g| (g.partner_id, g.id)).collect();
    let report = process.refresh_batch(&ids, false).await;
    assert_eq!((report.refreshed, report.left), (0, 30), "none is due yet");
    rig.clock.advance(LIFE);
    let report = process.refresh_batch(&ids, false).await;
    assert_eq!((report.refreshed, report.failed, report.left), (30, 0, 0));
    let report = process.refresh_batch(&ids, false).await;
    assert_eq!(
        (report.refreshed, report.left),
        (0, 30),
        "a second delivery does nothing"
    );
    assert_eq!(rig.count(Counter::TokenRefresh), 30);
    let now = rig.ctx.now();
    for grant in grants {
        let row = rig.row(grant).await;
        assert_eq!((row.version, row.state), (2, GrantState::Active));
        assert!(!rig.is_open(grant).await);
        let lead = row.due_at.unwrap().until(row.expires_at.unwrap());
        assert!(
            lead >= Duration::from_secs(360) && lead <= Duration::from_secs(720),
            "{lead:?}"
        );
        assert!(row.last_refreshed_at == Some(now) && row.wake_at == row.due_at);
    }
}

#[tokio::test]
async fn waiting_for_another_process_ends_when_it_landed() {
    let rig = Rig::new(Kind::Strict).await;
    let (one, other, grant) = (
        rig.process().await,
        rig.process().await,
        rig.expired().await,
    );
    rig.sandbox.change(|s| s.token_latency_ms = 300).unwrap();
    let first = tokio::spawn({
        let one = one.clone();
        async move { fresh(&one, grant).await }
    });
    rig.until(Counter::TokenRefresh, 1).await;
    assert!(
        rig.is_open(grant).await,
        "claimed and committed before the answer"
    );
    assert_eq!(fresh(&other, grant).await.unwrap().version, 2);
    assert_eq!(first.await.unwrap().unwrap().version, 2);
    assert_eq!(rig.count(Counter::TokenRequests), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cut_the_attempt() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.sandbox.change(|s| s.token_latency_ms = 200).unwrap();
    let caller = tokio::spawn({
        let process = process.clone();
        async move { fresh(&process, grant).await }
    });
    rig.until(Counter::TokenRefresh, 1).await;
    caller.abort();
    let stopper = process.protocol.ctx.stopper.clone();
    stopper.finish();
    assert!(
        stopper.wait(Duration::from_secs(10)).await,
        "a stop waits for the answer"
    );
    assert_eq!(rig.row(grant).await.version, 2);
}
