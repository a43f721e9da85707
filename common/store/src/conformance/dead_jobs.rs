//! Jobs that went wrong: what is noted of it, how the operator finds them, and their second life.

use latchkey_domain::{AttemptId, states::JobState};

use super::{Fixture, fixture::secs};
use crate::{AllJobsFilter, CompleteJob, HeldJob, JobClaim, JobEnd, JobRow, Spent};

async fn stored(t: &Fixture, kind: &str) -> JobRow {
    let job = JobRow {
        kind: kind.into(),
        ..t.job(t.partner().await)
    };
    assert!(t.store.insert_job(job.clone()).await.unwrap());
    job
}

async fn read(t: &Fixture, job: &JobRow) -> JobRow {
    t.store.find_job(job.id).await.unwrap().unwrap()
}

/// Claims a job and ends the attempt so.
async fn attempt(t: &Fixture, job: &JobRow, end: JobEnd) {
    let claim = t.id(AttemptId::new);
    let wanted = JobClaim {
        partner_id: job.partner_id,
        job_id: job.id,
        claim,
        lease: secs(60),
    };
    assert!(t.store.claim_job(wanted).await.unwrap().is_some());
    let complete = CompleteJob {
        partner_id: job.partner_id,
        job_id: job.id,
        claim,
        end,
        release: None,
        now: t.now(),
    };
    assert!(t.store.complete_job(complete).await.unwrap());
}

fn retry(t: &Fixture) -> JobEnd {
    JobEnd::Retry {
        run_at: t.now(),
        error_code: "PROVIDER_UNAVAILABLE".into(),
        error: "it said \"503\"\nand more".into(),
    }
}

fn failed() -> JobEnd {
    JobEnd::Failed {
        error_code: "INTERNAL".into(),
        error: "gave up".into(),
        result: None,
        expires_at: None,
    }
}

/// What went wrong with it, as `attempt code`.
fn noted(row: &JobRow) -> Vec<String> {
    let setbacks = row.setbacks().into_iter();
    setbacks
        .map(|noted| format!("{} {}", noted.attempt, noted.code))
        .collect()
}

async fn every_setback_is_noted(t: &Fixture) {
    let job = stored(t, "provider_call").await;
    attempt(t, &job, retry(t)).await;
    attempt(t, &job, JobEnd::Snooze { run_at: t.now() }).await;
    let claim = JobClaim {
        partner_id: job.partner_id,
        job_id: job.id,
        claim: t.id(AttemptId::new),
        lease: secs(60),
    };
    assert!(t.store.claim_job(claim).await.unwrap().is_some());
    // Its worker dies.
    let later = read(t, &job).await.lease_until.unwrap();
    assert_eq!(
        t.store.requeue_stuck_jobs(later, 10).await.unwrap().len(),
        1
    );
    let row = read(t, &job).await;
    assert_eq!(
        (noted(&row), row.lost),
        (
            vec!["1 PROVIDER_UNAVAILABLE".into(), "2 WORKER_LOST".into()],
            1
        )
    );
    assert_eq!(row.setbacks()[0].error, "it said \"503\"\nand more");
    assert_eq!(row.setbacks()[1].at, later.as_micros());

    let done = stored(t, "provider_call").await;
    let completed = JobEnd::Completed {
        result: None,
        expires_at: None,
    };
    attempt(t, &done, completed).await;
    assert_eq!(read(t, &done).await.history, None);
}

/// Suspects that were taken along by another do not end for it: only losses of one that ran alone count.
async fn a_suspect_is_lost_only_where_it_ran_alone(t: &Fixture) {
    let job = stored(t, "provider_call").await;
    for (alone, lost, attempts) in [(false, 1, 1), (false, 2, 2), (false, 2, 3), (true, 3, 4)] {
        let claim = JobClaim {
            partner_id: job.partner_id,
            job_id: job.id,
            claim: t.id(AttemptId::new),
            // Over at once, because the server's clock cannot be moved.
            lease: secs(0),
        };
        let held = HeldJob {
            partner_id: claim.partner_id,
            job_id: claim.job_id,
            claim: claim.claim,
        };
        assert!(!t.store.runs_alone(held).await.unwrap());
        assert!(t.store.claim_job(claim).await.unwrap().is_some());
        if alone {
            assert!(t.store.runs_alone(held).await.unwrap());
        }
        let later = read(t, &job).await.lease_until.unwrap();
        let found = t.store.requeue_stuck_jobs(later, 10).await.unwrap();
        let row = read(t, &job).await;
        assert_eq!((found.len(), row.lost, row.attempts), (1, lost, attempts));
        // Its next claim is another one.
        assert!(!t.store.runs_alone(held).await.unwrap());
    }
}

async fn a_history_does_not_grow_for_ever(t: &Fixture) {
    let job = stored(t, "provider_call").await;
    for _ in 0..200 {
        let long = JobEnd::Retry {
            run_at: t.now(),
            error_code: "X".into(),
            error: "é".repeat(5000),
        };
        attempt(t, &job, long).await;
    }
    let row = read(t, &job).await;
    assert_eq!(row.attempts, 200);
    let kept = row.setbacks().len();
    assert!((20..200).contains(&kept), "{kept}");
    assert_eq!(row.history.unwrap().lines().count(), kept);
}

async fn a_failed_job_lives_again(t: &Fixture) {
    let job = stored(t, "provider_call").await;
    assert!(
        !t.store.retry_job(&job, t.now()).await.unwrap(),
        "it has not failed"
    );
    attempt(t, &job, retry(t)).await;
    attempt(t, &job, failed()).await;
    let dead = read(t, &job).await;
    assert!(
        dead.sealed.is_some(),
        "without its request it could not run again"
    );
    assert!(t.store.retry_job(&dead, t.now()).await.unwrap());
    assert!(!t.store.retry_job(&dead, t.now()).await.unwrap());
    let row = read(t, &job).await;
    assert_eq!(
        (row.state, row.attempts, row.forgiven),
        (JobState::Queued, 2, 2)
    );
    assert_eq!((row.wake_at, row.completed_at), (Some(t.now()), None));
    let done = JobEnd::Completed {
        result: Some(vec![1]),
        expires_at: None,
    };
    attempt(t, &job, done).await;
    let row = read(t, &job).await;
    assert_eq!(
        (row.state, row.attempts, row.sealed.is_some()),
        (JobState::Completed, 3, false)
    );
    assert_eq!(row.setbacks().len(), 2);
}

async fn the_operator_finds_jobs_of_all_partners(t: &Fixture) {
    let (first, second, third) = (
        stored(t, "provider_call").await,
        stored(t, "revoke_grant").await,
        stored(t, "provider_call").await,
    );
    attempt(t, &second, failed()).await;
    attempt(t, &third, failed()).await;
    let list = |filter: AllJobsFilter| async move {
        let rows = t
            .store
            .list_all_jobs(&AllJobsFilter {
                limit: 10,
                ..filter
            })
            .await
            .unwrap();
        assert!(rows.iter().all(|row| row.sealed.is_none()));
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let all = AllJobsFilter::default;
    let newest_first = |mut ids: Vec<_>| {
        ids.sort_unstable();
        ids.reverse();
        ids
    };
    let everything = newest_first(vec![first.id, second.id, third.id]);
    assert_eq!(list(all()).await, everything);
    assert_eq!(
        list(AllJobsFilter {
            before: Some(everything[0]),
            ..all()
        })
        .await,
        everything[1..]
    );
    let failed = vec![JobState::Failed];
    assert_eq!(
        list(AllJobsFilter {
            states: failed,
            ..all()
        })
        .await,
        newest_first(vec![second.id, third.id])
    );
    let kind = Some("revoke_grant".to_owned());
    assert_eq!(list(AllJobsFilter { kind, ..all() }).await, [second.id]);
    let partner = Some(first.partner_id);
    assert_eq!(list(AllJobsFilter { partner, ..all() }).await, [first.id]);
    // A revocation has more attempts than the one that is spent.
    let spent = |lost| {
        let attempts = vec![
            ("provider_call".to_owned(), 1),
            ("revoke_grant".to_owned(), 40),
        ];
        Some(Spent { attempts, lost })
    };
    assert_eq!(
        list(AllJobsFilter {
            spent: spent(1),
            ..all()
        })
        .await,
        [third.id]
    );
    let any = list(AllJobsFilter {
        spent: spent(0),
        ..all()
    })
    .await;
    assert_eq!(any, newest_first(vec![second.id, third.id]));
    let unknown = t.job(first.partner_id).id;
    assert!(t.store.find_job(unknown).await.unwrap().is_none());
}

mod every_engine {
    super::super::on_every_engine!(
        every_setback_is_noted,
        a_suspect_is_lost_only_where_it_ran_alone,
        a_history_does_not_grow_for_ever,
        a_failed_job_lives_again,
        the_operator_finds_jobs_of_all_partners,
    );
}
