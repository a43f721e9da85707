//! Work whose wake-up was lost or whose worker died.

use std::time::Duration;

use latchkey_domain::{
    AttemptId, CallId, ConnectionId, GrantId,
    states::{CallOutcome, GrantState, JobState},
};
use latchkey_jobs::{
    JobKind, Urgency,
    kinds::{ProviderCall, RevokeGrant},
};
use latchkey_store::{CallRow, JobClaim, JobFilter};

use super::rig::{Rig, SECOND, T0};

#[tokio::test]
async fn lost_wake_ups_and_dead_workers_are_made_up_for() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let kind = RevokeGrant {
        grant: GrantId::from_u128(1),
        connection: ConnectionId::from_u128(1),
    };
    let waiting = rig.job_row(partner, &kind);
    let mut hopeless = rig.job_row(partner, &kind);
    hopeless.deadline_at = Some(T0 + SECOND);
    hopeless.run_at = T0 + Duration::from_secs(3600);
    hopeless.wake_at = Some(hopeless.run_at);
    for row in [&waiting, &hopeless] {
        assert!(store.insert_job(row.clone()).await.unwrap());
    }
    rig.run("requeue_stuck").await;
    let pushed = rig.drained(Urgency::Background).await;
    assert_eq!(
        pushed.iter().map(|job| job.id).collect::<Vec<_>>(),
        [waiting.id]
    );
    assert!(pushed[0].durable && pushed[0].partner == partner);
    rig.run("requeue_stuck").await;
    assert!(
        rig.drained(Urgency::Background).await.is_empty(),
        "it was pushed a moment ago"
    );
    // Its worker takes it and dies.
    let claim = JobClaim {
        partner_id: partner,
        job_id: waiting.id,
        claim: AttemptId::from_u128(5),
        lease: SECOND * 10,
    };
    assert!(store.claim_job(claim).await.unwrap().is_some());
    rig.pass(SECOND * 11);
    rig.run("requeue_stuck").await;
    assert_eq!(rig.drained(Urgency::Background).await.len(), 1);
    let row = store.get_job(partner, hopeless.id).await.unwrap().unwrap();
    assert_eq!(row.state, JobState::Failed);
}

#[tokio::test]
async fn receipts_whose_sender_died_end_unknown_and_billed() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let call = |n: u128, why: Option<&str>| CallRow {
        id: CallId::from_u128(n),
        partner_id: partner,
        account_id: None,
        connection_id: None,
        provider: "sandbox".into(),
        service: "api".into(),
        endpoint: "proxy".into(),
        method: "POST".into(),
        path: "/messages".into(),
        status: None,
        outcome: CallOutcome::Sent,
        billed: false,
        not_billed_reason: why.map(str::to_owned),
        bytes_in: 0,
        bytes_out: 10,
        queued: Duration::ZERO,
        throttled: Duration::ZERO,
        token_wait: Duration::ZERO,
        provider_time: Duration::ZERO,
        attempt: 1,
        job_id: None,
        request_id: None,
        created_at: T0,
        completed_at: None,
    };
    assert!(store.begin_unsafe_call(call(1, None)).await.unwrap());
    assert!(
        store
            .begin_unsafe_call(call(2, Some("test_key")))
            .await
            .unwrap()
    );
    let outcome = async |n| {
        let row = store
            .get_call(partner, CallId::from_u128(n))
            .await
            .unwrap()
            .unwrap();
        (row.outcome, row.billed)
    };
    rig.pass(ProviderCall::info().longest());
    rig.run("requeue_stuck").await;
    assert_eq!(
        outcome(1).await,
        (CallOutcome::Sent, false),
        "its answer may still come"
    );
    rig.pass(SECOND * 30);
    rig.run("requeue_stuck").await;
    assert_eq!(outcome(1).await, (CallOutcome::Unknown, true));
    assert_eq!(outcome(2).await, (CallOutcome::Unknown, false));
}

#[tokio::test]
async fn a_revocation_that_was_lost_is_asked_for_once_more() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let grant = rig.grant(1, T0 + SECOND * 3600).await;
    let row = store.load_grant(grant).await.unwrap().unwrap().row;
    store
        .mark_disconnected(partner, row.connection_id, None, T0)
        .await
        .unwrap()
        .unwrap();
    rig.run("requeue_stuck").await;
    assert!(
        rig.drained(Urgency::Background).await.is_empty(),
        "its own job has time"
    );
    rig.pass(SECOND * 700);
    for _ in 0..3 {
        rig.run("requeue_stuck").await;
        rig.pass(SECOND * 10);
    }
    let jobs = rig.drained(Urgency::Background).await;
    assert_eq!(jobs.len(), 1);
    let row = store.get_job(partner, jobs[0].id).await.unwrap().unwrap();
    let kind: RevokeGrant = serde_json::from_str(&row.payload).unwrap();
    assert_eq!(kind.grant, grant.id);
    let all = JobFilter {
        hidden_too: true,
        limit: 10,
        ..JobFilter::default()
    };
    assert_eq!(store.list_jobs(partner, &all).await.unwrap().1, 1);
    let state = store.load_grant(grant).await.unwrap().unwrap().row.state;
    assert_eq!(state, GrantState::Revoking);
}
