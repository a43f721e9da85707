//! Lost answers: what is in doubt, for how long, and how it ends with each kind of provider.

use std::time::Duration;

use latchkey_domain::states::GrantState;
use latchkey_sandbox::{Counter, FaultKind};

use super::rig::{Kind, LIFE, Rig, fresh, reauth, unavailable};

const FAIL_503: FaultKind = FaultKind::Fail {
    status: 503,
    body: None,
};

#[tokio::test]
async fn without_grace_the_second_presentation_waits_and_then_tells() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.next_refresh(FaultKind::DropAfterActing);
    let wait = unavailable(fresh(&process, grant).await);
    assert_eq!(
        wait,
        Duration::from_secs(60),
        "time-out and quiet time after the closing"
    );
    let row = rig.row(grant).await;
    assert!(row.in_doubt && !rig.is_open(grant).await && row.state == GrantState::Active);
    rig.pass(59);
    unavailable(fresh(&process, grant).await);
    assert_eq!(
        rig.count(Counter::TokenRequests),
        1,
        "nobody presents in the quiet time"
    );
    rig.pass(1);
    assert_eq!(
        reauth(fresh(&process, grant).await),
        "rotation_outcome_unknown"
    );
    assert_eq!(rig.count(Counter::RefreshReuse), 1);
    let row = rig.row(grant).await;
    assert_eq!(row.state, GrantState::NeedsReauth);
    assert_eq!(row.reason.as_deref(), Some("rotation_outcome_unknown"));
    assert_eq!((row.due_at, row.wake_at), (None, None));
}

#[tokio::test]
async fn while_the_token_lives_calls_go_on_and_nobody_presents_again() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    rig.next_refresh(FaultKind::DropAfterActing);
    let batch = [(grant.partner_id, grant.id)];
    assert_eq!(process.refresh_batch(&batch, true).await.failed, 1);
    let row = rig.row(grant).await;
    let ending = row.expires_at.unwrap().minus(Duration::from_secs(60));
    assert!(row.in_doubt && row.due_at == Some(ending));
    let token = fresh(&process, grant).await.unwrap();
    assert!(token.version == 1 && rig.works(&token).await);
    rig.pass(120);
    assert_eq!(
        process.refresh_batch(&batch, true).await.left,
        1,
        "a reuse alarm would kill it early"
    );
    assert_eq!(rig.count(Counter::TokenRequests), 1);
    rig.clock.advance(rig.ctx.now().until(ending));
    assert_eq!(process.refresh_batch(&batch, false).await.failed, 1);
    assert_eq!(
        rig.row(grant).await.reason.as_deref(),
        Some("rotation_outcome_unknown")
    );
}

#[tokio::test]
async fn with_grace_it_heals_after_the_quiet_time() {
    let rig = Rig::new(Kind::Grace).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    rig.next_refresh(FaultKind::DropAfterActing);
    let batch = [(grant.partner_id, grant.id)];
    assert_eq!(process.refresh_batch(&batch, true).await.failed, 1);
    let due = rig.row(grant).await.due_at.unwrap();
    assert_eq!(
        due,
        rig.ctx.now() + Duration::from_secs(60),
        "at once, while the token lives"
    );
    rig.pass(60);
    assert_eq!(process.refresh_batch(&batch, false).await.refreshed, 1);
    assert_eq!(
        (
            rig.count(Counter::RefreshGrace),
            rig.count(Counter::RefreshReuse)
        ),
        (1, 0)
    );
    let token = fresh(&process, grant).await.unwrap();
    assert!(token.version == 2 && rig.works(&token).await && !rig.row(grant).await.in_doubt);
}

#[tokio::test]
async fn when_too_little_grace_remains_it_waits_for_need() {
    let rig = Rig::new(Kind::Grace).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    rig.next_refresh(FaultKind::DropAfterActing);
    let batch = [(grant.partner_id, grant.id)];
    process.refresh_batch(&batch, true).await;
    // 600 s of grace, of which the last 70 s may be over before the provider has handled it.
    rig.pass(531);
    assert_eq!(process.refresh_batch(&batch, true).await.left, 1);
    assert_eq!(rig.count(Counter::TokenRequests), 1);
    rig.clock.advance(LIFE);
    assert_eq!(
        reauth(fresh(&process, grant).await),
        "rotation_outcome_unknown"
    );
}

#[tokio::test]
async fn without_rotation_it_heals_after_the_quiet_time() {
    let rig = Rig::new(Kind::Steady).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.next_refresh(FaultKind::DropMidAnswer);
    unavailable(fresh(&process, grant).await);
    rig.pass(60);
    // The answer holds no refresh token: the old one is kept, and serves again.
    for version in 2..=4 {
        let token = fresh(&process, grant).await.unwrap();
        assert!(token.version == version && rig.works(&token).await);
        rig.clock.advance(LIFE);
    }
}

#[tokio::test]
async fn where_reuse_reaches_other_grants_nothing_is_presented_twice() {
    let rig = Rig::new(Kind::Wide).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    rig.next_refresh(FaultKind::DropAfterActing);
    process
        .refresh_batch(&[(grant.partner_id, grant.id)], true)
        .await;
    assert_eq!(fresh(&process, grant).await.unwrap().version, 1);
    rig.clock.advance(LIFE);
    assert_eq!(
        reauth(fresh(&process, grant).await),
        "rotation_outcome_unknown"
    );
    assert_eq!(
        (
            rig.count(Counter::TokenRequests),
            rig.count(Counter::RefreshReuse)
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn a_503_leaves_doubt_and_the_next_success_heals() {
    for kind in [Kind::Strict, Kind::Grace, Kind::Steady] {
        let rig = Rig::new(kind).await;
        let (process, grant) = (rig.process().await, rig.expired().await);
        rig.next_refresh(FAIL_503);
        unavailable(fresh(&process, grant).await);
        let row = rig.row(grant).await;
        assert!(row.in_doubt && row.failures == 1, "{kind:?}");
        assert!(row.last_failure.unwrap().starts_with("server_error"));
        rig.pass(60);
        assert_eq!(fresh(&process, grant).await.unwrap().version, 2, "{kind:?}");
        let row = rig.row(grant).await;
        assert!(!row.in_doubt && row.failures == 0 && row.closed_at.is_none());
    }
}

#[tokio::test]
async fn one_500_while_the_token_lives_disturbs_no_call() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.grant().await);
    rig.next_refresh(FaultKind::Fail {
        status: 500,
        body: None,
    });
    process
        .refresh_batch(&[(grant.partner_id, grant.id)], true)
        .await;
    for _ in 0..3 {
        let token = fresh(&process, grant).await.unwrap();
        assert!(rig.works(&token).await);
        rig.pass(10);
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_and_asked_again_later() {
    let short = Duration::from_millis(300);
    let rig = Rig::with(Kind::Strict, |config| config.refresh.timeout = short).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.next_refresh(FaultKind::Hang);
    unavailable(fresh(&process, grant).await);
    assert!(rig.row(grant).await.in_doubt);
    rig.sandbox.clear_faults();
    rig.pass(31);
    assert_eq!(fresh(&process, grant).await.unwrap().version, 2);
    assert_eq!(rig.count(Counter::RefreshReuse), 0);
}

#[tokio::test]
async fn two_hundreds_that_cannot_be_read_leave_doubt() {
    for fault in [
        FaultKind::Html,
        FaultKind::Garbage,
        FaultKind::Big { bytes: 1 << 20 },
    ] {
        let rig = Rig::new(Kind::Steady).await;
        let (process, grant) = (rig.process().await, rig.expired().await);
        rig.next_refresh(fault.clone());
        unavailable(fresh(&process, grant).await);
        assert!(rig.row(grant).await.in_doubt, "{fault:?}");
        rig.pass(60);
        assert_eq!(
            fresh(&process, grant).await.unwrap().version,
            2,
            "{fault:?}"
        );
    }
}
