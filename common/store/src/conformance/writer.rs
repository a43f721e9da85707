//! The group-commit writer: few commits, one bad write failing alone, and a lost COMMIT resolved.

use std::sync::atomic::Ordering;

use futures::future::join_all;
use latchkey_domain::{
    AttemptId, PartnerId,
    refresh::{Class, Ended},
    states::CallOutcome,
};

use super::{Fixture, fixture::secs};
use crate::{CompleteJob, FinishCall, JobClaim, JobEnd, Landed};

async fn a_thousand_receipts_take_few_commits(t: &Fixture) {
    let partner = t.partner().await;
    let before = t.store.commit_stats();
    let writes = (0..1000).map(|_| t.store.insert_call(t.call(partner)));
    let written: Vec<_> = join_all(writes)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(written.into_iter().all(|new| new));
    let after = t.store.commit_stats();
    let commits = after.commits - before.commits;
    assert!(commits <= 20, "{commits} commits");
    assert_eq!(after.writes - before.writes, 1000);
    assert!(after.largest <= 500);
    t.store.roll_up_usage(t.now()).await.unwrap();
    assert_eq!(t.store.billed_calls(partner, t.now()).await.unwrap(), 1000);
}

async fn the_writer_makes_at_least_half_of_what_raw_groups_make(t: &Fixture) {
    let clock = latchkey_domain::SystemClock;
    let rounds = crate::bench::receipts(&t.store, 2000, 6, &clock, &t.entropy);
    let figures = rounds.await.unwrap();
    // Tests run side by side here: the least disturbed round counts.
    assert!(figures[5].ratio() >= 0.5, "{figures:?}");
}

async fn a_bad_write_fails_alone(t: &Fixture) {
    let partner = t.partner().await;
    let mut calls: Vec<_> = (0..200).map(|_| t.call(partner)).collect();
    // There is no such partner: the foreign key refuses it.
    for bad in [17, 18, 150] {
        calls[bad].partner_id = t.id(PartnerId::new);
    }
    let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
    let written = join_all(calls.into_iter().map(|call| t.store.insert_call(call))).await;
    let failed: Vec<_> = (0..200).filter(|n| written[*n].is_err()).collect();
    assert_eq!(failed, [17, 18, 150]);
    for (n, id) in ids.into_iter().enumerate() {
        let found = t.store.get_call(partner, id).await.unwrap();
        assert_eq!(found.is_some(), !failed.contains(&n));
    }
}

async fn other_writes_do_not_starve(t: &Fixture) {
    let partner = t.partner().await;
    let flood = async {
        for _ in 0..6 {
            let writes = (0..256).map(|_| t.store.insert_call(t.call(partner)));
            for written in join_all(writes).await {
                assert!(written.unwrap());
            }
        }
    };
    let aside = async {
        let mut done = 0;
        for n in 0..20 {
            t.account(partner, &format!("u{n}")).await;
            done += 1;
        }
        done
    };
    let ((), done) = futures::join!(flood, aside);
    assert_eq!(done, 20);
}

async fn kinds_mix_in_a_group(t: &Fixture) {
    let partner = t.partner().await;
    let made = t.connect(partner, "u1").await;
    let claim = t.claim(&made.grant);
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    let (call, job) = (t.call(partner), t.job(partner));
    let rival = t.claim(&t.grant(&made.grant).await);
    let landing = super::grants::landing(t, &claim, 1);
    let (call, job, rival, landing) = futures::join!(
        t.store.insert_call(call),
        t.store.insert_job(job),
        t.store.claim_grant(rival),
        t.store.land_grant(landing)
    );
    assert!(call.unwrap() && job.unwrap());
    // The rival may have won the row before the landing: the landing goes by version alone.
    rival.unwrap();
    assert_eq!(
        landing.unwrap(),
        Landed::Stored {
            version: 2,
            revoking: false
        }
    );
    assert_eq!(t.open(&made.grant).await, None);
}

/// The next COMMIT takes place and its answer is lost.
fn lose_next_commit(t: &Fixture) {
    let before = t.store.engine.lose_next_commit.swap(true, Ordering::SeqCst);
    assert!(!before, "nothing was committed since the last time");
}

/// Every kind of write, each with the COMMIT's answer lost: every caller learns the truth, once.
async fn a_lost_commit_of_receipts_is_resolved(t: &Fixture) {
    let partner = t.partner().await;
    let lose = || lose_next_commit(t);
    let call = t.call(partner);
    lose();
    assert!(t.store.begin_unsafe_call(call.clone()).await.unwrap());
    lose();
    assert!(
        !t.store
            .begin_unsafe_call(crate::CallRow {
                attempt: 2,
                ..call.clone()
            })
            .await
            .unwrap()
    );
    lose();
    let finish = FinishCall {
        partner_id: partner,
        call_id: call.id,
        outcome: CallOutcome::Answered,
        status: Some(200),
        billed: true,
        not_billed_reason: None,
        bytes_in: 1,
        bytes_out: 1,
        provider_time: secs(1),
        completed_at: t.now(),
        quota_block: None,
    };
    assert!(t.store.finish_unsafe_call(finish.clone()).await.unwrap());
    lose();
    let unknown = FinishCall {
        outcome: CallOutcome::Unknown,
        ..finish
    };
    assert!(!t.store.finish_unsafe_call(unknown).await.unwrap());
}

async fn a_lost_commit_of_jobs_is_resolved(t: &Fixture) {
    let partner = t.partner().await;
    let lose = || lose_next_commit(t);
    let job = t.job(partner);
    lose();
    assert!(t.store.insert_job(job.clone()).await.unwrap());
    let claim = || JobClaim {
        partner_id: partner,
        job_id: job.id,
        claim: t.id(AttemptId::new),
        lease: secs(60),
    };
    let mine = claim();
    lose();
    let claimed = t.store.claim_job(mine.clone()).await.unwrap().unwrap();
    assert_eq!(claimed.claim, Some(mine.claim));
    lose();
    assert!(t.store.claim_job(claim()).await.unwrap().is_none());
    lose();
    let end = CompleteJob {
        partner_id: partner,
        job_id: job.id,
        claim: mine.claim,
        end: JobEnd::Completed {
            result: None,
            expires_at: None,
        },
        release: None,
        now: t.now(),
    };
    assert!(t.store.complete_job(end).await.unwrap());
}

async fn a_lost_commit_of_grants_is_resolved(t: &Fixture) {
    let partner = t.partner().await;
    let lose = || lose_next_commit(t);
    let made = t.connect(partner, "u1").await;
    let first = t.claim(&made.grant);
    lose();
    assert!(t.store.claim_grant(first.clone()).await.unwrap());
    lose();
    let close = super::grants::closing(t, &first, Ended::Unknown, Class::Transient);
    assert!(t.store.close_attempt(close).await.unwrap());
    lose();
    let landing = super::grants::landing(t, &first, 1);
    let landed = t.store.land_grant(landing.clone()).await.unwrap();
    assert_eq!(
        landed,
        Landed::Stored {
            version: 2,
            revoking: false
        }
    );
    lose();
    // A landing that is stale is stale, lost answer or not.
    let stale = crate::Landing {
        attempt: t.id(AttemptId::new),
        ..landing
    };
    assert_eq!(t.store.land_grant(stale).await.unwrap(), Landed::Stale);
}

async fn connections_that_were_cut_are_replaced(t: &Fixture) {
    let partner = t.partner().await;
    // A file does not hang up.
    if t.url.starts_with("postgres") {
        t.meddle(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    }
    let writes = (0..50).map(|_| t.store.insert_call(t.call(partner)));
    for written in join_all(writes).await {
        assert!(written.unwrap());
    }
    assert!(t.store.get_partner(partner).await.unwrap().is_some());
}

async fn writes_after_closing_are_refused(t: &Fixture) {
    let partner = t.partner().await;
    t.store.close().await;
    assert!(t.store.insert_call(t.call(partner)).await.is_err());
    assert!(t.store.get_partner(partner).await.is_err());
}

mod every_engine {
    super::super::on_every_engine!(
        a_thousand_receipts_take_few_commits,
        the_writer_makes_at_least_half_of_what_raw_groups_make,
        a_bad_write_fails_alone,
        other_writes_do_not_starve,
        kinds_mix_in_a_group,
        a_lost_commit_of_receipts_is_resolved,
        a_lost_commit_of_jobs_is_resolved,
        a_lost_commit_of_grants_is_resolved,
        connections_that_were_cut_are_replaced,
        writes_after_closing_are_refused,
    );
}
