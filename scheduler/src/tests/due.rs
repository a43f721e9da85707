//! Grants that are due, and attempts whose holder is silent.

use std::{collections::BTreeSet, time::Duration};

use latchkey_domain::{AttemptId, GrantId, HolderId, JobId, PartnerId};
use latchkey_jobs::{Job, Urgency, kinds::RefreshGrants};
use latchkey_store::{GrantClaim, GrantKey};

use super::rig::{Rig, SECOND, T0};

fn batches(jobs: &[Job]) -> Vec<Vec<(PartnerId, GrantId)>> {
    jobs.iter()
        .map(|job| job.payload::<RefreshGrants>().unwrap().grants)
        .collect()
}

#[tokio::test]
async fn due_grants_are_sent_once_the_most_urgent_first_and_again_when_their_mark_ends() {
    let rig = Rig::new().await;
    for n in [1, 2] {
        rig.partner(n).await;
    }
    let mut due = BTreeSet::new();
    for n in 0..120 {
        let grant = rig
            .grant(1 + n % 2, T0 + SECOND * u32::try_from(n).unwrap())
            .await;
        due.insert((grant.partner_id, grant.id));
    }
    let later = rig.grant(1, T0 + Duration::from_secs(3600)).await;
    rig.run("refresh_due").await;
    assert_eq!(
        batches(&rig.drained(Urgency::Refresh).await).concat().len(),
        1
    );
    rig.pass(Duration::from_secs(120));
    rig.run("refresh_due").await;
    let sent = batches(&rig.drained(Urgency::Refresh).await);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
    // The pass that took the first one began more than one and a half leases ago, so all are there.
    let all: BTreeSet<_> = sent.concat().into_iter().collect();
    assert!(all == due && !all.contains(&(later.partner_id, later.id)));
    let soonest = rig.ctx.store.load_grant(GrantKey {
        partner_id: sent[0][0].0,
        id: sent[0][0].1,
    });
    assert_eq!(soonest.await.unwrap().unwrap().row.due_at, Some(T0));
    // A second tick goes on behind them; when the pass is old, they are sent again.
    rig.run("refresh_due").await;
    assert!(rig.drained(Urgency::Refresh).await.is_empty());
    rig.pass(Duration::from_secs(60));
    rig.run("refresh_due").await;
    assert_eq!(
        batches(&rig.drained(Urgency::Refresh).await).concat().len(),
        120
    );
}

#[tokio::test]
async fn a_full_queue_leaves_due_grants_to_the_next_tick() {
    let rig = Rig::new().await;
    let partner = rig.partner(1).await;
    let grant = rig.grant(1, T0).await;
    for _ in 0..256 {
        let kind = RefreshGrants {
            grants: Vec::new(),
            asked: false,
        };
        let id = JobId::new(T0, &*rig.ctx.entropy);
        rig.ctx
            .queue
            .push(Job::new(id, partner, &kind, T0).unwrap())
            .await
            .unwrap();
    }
    rig.run("refresh_due").await;
    assert!(
        rig.said("refresh_due")
            .await
            .contains("\"queue_full\":true")
    );
    let row = rig.ctx.store.load_grant(grant).await.unwrap().unwrap().row;
    assert_eq!(row.wake_at, Some(T0));
    assert_eq!(rig.drained(Urgency::Refresh).await.len(), 256);
    rig.run("refresh_due").await;
    assert_eq!(rig.drained(Urgency::Refresh).await.len(), 1);
}

/// Takes a grant for an attempt whose holder is never heard of again.
async fn claim(rig: &Rig, grant: GrantKey) {
    let store = &rig.ctx.store;
    let claim = GrantClaim {
        grant,
        rev: store.load_grant(grant).await.unwrap().unwrap().row.rev,
        replaced: None,
        attempt: AttemptId::from_u128(1),
        holder: HolderId::from_u128(1),
        lease: Duration::from_secs(40),
        first_claim_at: T0,
    };
    assert!(store.claim_grant(claim).await.unwrap());
}

#[tokio::test]
async fn a_deleted_grant_is_not_held_for_ever_by_a_worker_that_never_comes_back() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let grant = rig.grant(1, T0).await;
    claim(&rig, grant).await;
    let connection = store
        .load_grant(grant)
        .await
        .unwrap()
        .unwrap()
        .row
        .connection_id;
    let deleted = store.mark_disconnected(partner, connection, None, T0);
    deleted.await.unwrap().unwrap();
    rig.pass(Duration::from_secs(40));
    for _ in 0..40 {
        assert!(!store.forget_grant(grant, 1, rig.ctx.now()).await.unwrap());
        rig.run("sweep_attempts").await;
        rig.pass(Duration::from_secs(15));
    }
    assert!(store.forget_grant(grant, 1, rig.ctx.now()).await.unwrap());
}

#[tokio::test]
async fn silent_holders_are_shown_and_counted_once_a_sweep() {
    let rig = Rig::new().await;
    rig.partner(1).await;
    let grant = rig.grant(1, T0).await;
    claim(&rig, grant).await;
    let sweeps = async || {
        rig.run("sweep_attempts").await;
        let loaded = rig.ctx.store.load_grant(grant).await.unwrap().unwrap();
        let (open, row) = (loaded.open, loaded.row);
        let sweeps = open.as_ref().map_or(0, |open| open.sweeps);
        (sweeps, row.in_doubt, open.is_some())
    };
    assert_eq!(sweeps().await, (0, false, true), "its lease holds");
    rig.pass(Duration::from_secs(40));
    assert_eq!(sweeps().await, (1, true, true));
    assert!(
        rig.ctx
            .metrics
            .encode()
            .contains("latchkey_grants_in_doubt 1")
    );
    assert_eq!(sweeps().await, (1, true, true), "not twice in a period");
    for round in 2..=5 {
        rig.pass(Duration::from_secs(15));
        assert_eq!(sweeps().await, (round, true, true));
    }
}
