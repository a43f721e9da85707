//! Jobs: claimed by one, ended by who holds them, found again when a wake-up or a worker is lost.

use latchkey_domain::{AttemptId, JobId, PartnerId, states::JobState};

use super::{Fixture, fixture::secs};
use crate::{CompleteJob, HeldJob, JobClaim, JobEnd, JobFilter, JobRef, JobRow, ReleaseJob};

fn claim(t: &Fixture, job: &JobRow) -> JobClaim {
    JobClaim {
        partner_id: job.partner_id,
        job_id: job.id,
        claim: t.id(AttemptId::new),
        lease: secs(60),
    }
}

fn end(t: &Fixture, claim: &JobClaim, end: JobEnd) -> CompleteJob {
    CompleteJob {
        partner_id: claim.partner_id,
        job_id: claim.job_id,
        claim: claim.claim,
        end,
        release: None,
        now: t.now(),
    }
}

async fn stored(t: &Fixture, partner: PartnerId) -> JobRow {
    let job = t.job(partner);
    assert!(t.store.insert_job(job.clone()).await.unwrap());
    job
}

async fn read(t: &Fixture, job: &JobRow) -> JobRow {
    t.store
        .get_job(job.partner_id, job.id)
        .await
        .unwrap()
        .unwrap()
}

async fn a_job_is_claimed_by_one(t: &Fixture) {
    let job = stored(t, t.partner().await).await;
    assert!(!t.store.insert_job(job.clone()).await.unwrap());
    assert_eq!(read(t, &job).await, job);
    let claims: Vec<_> = (0..20).map(|_| claim(t, &job)).collect();
    let won = futures::future::join_all(claims.into_iter().map(|c| t.store.claim_job(c))).await;
    let won: Vec<_> = won.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(won.len(), 1);
    let row = read(t, &job).await;
    assert_eq!(won[0].claim, row.claim);
    assert_eq!(
        (&won[0].payload, &won[0].sealed),
        (&row.payload, &row.sealed)
    );
    assert_eq!((won[0].run_at, won[0].attempts), (row.run_at, 1));
    assert_eq!(
        (row.state, row.attempts, row.wake_at),
        (JobState::Running, 1, None)
    );
    assert!(row.lease_until.unwrap() >= t.now() + secs(60));
    assert!(row.started_at.is_some());
}

/// Rows go to PostgreSQL as arrays in text form, which has quotes, escapes and a word for null of its own.
async fn every_text_and_every_byte_comes_back(t: &Fixture) {
    let partner = t.partner().await;
    let texts = [
        "",
        "NULL",
        "null",
        r#"{"a": "\"b\"", "c": [1, 2]}"#,
        r"\",
        r"\\x41",
        "{},;()'",
        " leading and trailing ",
        "line\nbreak\ttab\r",
        "ünï¢ødé 🔑 \u{1}\u{7f}",
    ];
    let jobs: Vec<JobRow> = texts
        .iter()
        .map(|text| JobRow {
            payload: (*text).to_owned(),
            action: Some((*text).to_owned()),
            service: None,
            sealed: Some((0..=255).collect()),
            result: Some(Vec::new()),
            ..t.job(partner)
        })
        .collect();
    let stored = jobs.iter().map(|job| t.store.insert_job(job.clone()));
    for inserted in futures::future::join_all(stored).await {
        assert!(inserted.unwrap());
    }
    for job in &jobs {
        assert_eq!(read(t, job).await, *job);
    }
}

async fn only_the_holder_ends_a_job(t: &Fixture) {
    let job = stored(t, t.partner().await).await;
    let mine = claim(t, &job);
    assert!(t.store.claim_job(mine.clone()).await.unwrap().is_some());
    let done = || JobEnd::Completed {
        result: Some(vec![4; 10]),
        expires_at: Some(t.now() + secs(1000)),
    };
    let theirs = claim(t, &job);
    assert!(!t.store.complete_job(end(t, &theirs, done())).await.unwrap());
    let held = [&theirs, &mine].map(|c| HeldJob {
        partner_id: c.partner_id,
        job_id: c.job_id,
        claim: c.claim,
    });
    let extended = t.store.extend_job_leases(&held, secs(300)).await.unwrap();
    assert_eq!(extended, [mine.claim].into());
    assert!(read(t, &job).await.lease_until.unwrap() >= t.now() + secs(300));
    assert!(t.store.complete_job(end(t, &mine, done())).await.unwrap());
    assert!(!t.store.complete_job(end(t, &mine, done())).await.unwrap());
    let row = read(t, &job).await;
    assert_eq!(
        (row.state, row.result),
        (JobState::Completed, Some(vec![4; 10]))
    );
    // The sealed request is not kept beyond the end.
    assert_eq!((row.sealed, row.completed_at), (None, Some(t.now())));
    assert_eq!(
        t.store
            .delete_expired_jobs(t.now() + secs(999), 10)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        t.store
            .delete_expired_jobs(t.now() + secs(1000), 10)
            .await
            .unwrap(),
        1
    );
}

async fn retries_count_and_snoozes_do_not(t: &Fixture) {
    let job = stored(t, t.partner().await).await;
    let first = claim(t, &job);
    assert!(t.store.claim_job(first.clone()).await.unwrap().is_some());
    let snooze = JobEnd::Snooze { run_at: t.now() };
    assert!(t.store.complete_job(end(t, &first, snooze)).await.unwrap());
    let row = read(t, &job).await;
    assert_eq!(
        (row.state, row.attempts, row.sealed.is_some()),
        (JobState::Queued, 0, true)
    );
    assert_eq!(
        (row.wake_at, row.dispatched_at, row.lease_until),
        (Some(t.now()), None, None)
    );

    let second = claim(t, &job);
    assert!(t.store.claim_job(second.clone()).await.unwrap().is_some());
    let retry = JobEnd::Retry {
        run_at: t.now() + secs(1000),
        error_code: "PROVIDER_UNAVAILABLE".into(),
        error: "503".into(),
    };
    assert!(t.store.complete_job(end(t, &second, retry)).await.unwrap());
    let row = read(t, &job).await;
    assert_eq!((row.state, row.attempts), (JobState::Queued, 1));
    assert_eq!(row.error_code.as_deref(), Some("PROVIDER_UNAVAILABLE"));
    // Not before its time, whoever wakes it.
    assert!(t.store.claim_job(claim(t, &job)).await.unwrap().is_none());

    let other = stored(t, job.partner_id).await;
    let mine = claim(t, &other);
    assert!(t.store.claim_job(mine.clone()).await.unwrap().is_some());
    let failed = JobEnd::Failed {
        error_code: "NEEDS_REAUTH".into(),
        error: "connect again".into(),
        result: None,
        expires_at: None,
    };
    assert!(t.store.complete_job(end(t, &mine, failed)).await.unwrap());
    let row = read(t, &other).await;
    assert_eq!(
        (row.state, row.error.as_deref()),
        (JobState::Failed, Some("connect again"))
    );
}

async fn what_was_lost_is_found_again(t: &Fixture) {
    let partner = t.partner().await;
    let (waiting, running) = (stored(t, partner).await, stored(t, partner).await);
    let mine = claim(t, &running);
    assert!(t.store.claim_job(mine.clone()).await.unwrap().is_some());
    let ready = |at| t.store.undispatched_jobs("background", at, 10);
    let ids = |jobs: Vec<JobRef>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    let now = t.now();
    assert_eq!(ids(ready(now).await.unwrap()), [waiting.id]);
    assert!(
        t.store
            .undispatched_jobs("interactive", now, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let jobs = ready(now).await.unwrap();
    t.store
        .mark_dispatched(&jobs, now, now + secs(60))
        .await
        .unwrap();
    assert!(ready(now + secs(59)).await.unwrap().is_empty());
    assert_eq!(ids(ready(now + secs(60)).await.unwrap()), [waiting.id]);
    // One that found no room in the queue is ready at once; one at work is not left to anyone.
    let leave = |job: &JobRow| t.store.leave_job(partner, job.id, now);
    assert!(leave(&waiting).await.unwrap() && !leave(&running).await.unwrap());
    assert_eq!(ids(ready(now).await.unwrap()), [waiting.id]);
    let again = now + secs(60);
    t.store.mark_dispatched(&jobs, now, again).await.unwrap();
    assert_eq!(t.store.reset_dispatched().await.unwrap(), 1);
    assert_eq!(ids(ready(now).await.unwrap()), [waiting.id]);

    // The worker died: its job comes back, and its late end is refused.
    let lease = read(t, &running).await.lease_until.unwrap();
    assert!(
        t.store
            .requeue_stuck_jobs(lease.minus(secs(1)), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        ids(t.store.requeue_stuck_jobs(lease, 10).await.unwrap()),
        [running.id]
    );
    let row = read(t, &running).await;
    assert_eq!(
        (row.state, row.attempts, row.claim),
        (JobState::Queued, 1, None)
    );
    let late = JobEnd::Completed {
        result: None,
        expires_at: None,
    };
    assert!(!t.store.complete_job(end(t, &mine, late)).await.unwrap());
    let counts = t.store.count_jobs().await.unwrap();
    assert_eq!(
        (counts.len(), counts[0].count, counts[0].state),
        (1, 2, JobState::Queued)
    );
}

async fn one_partners_backlog_does_not_hold_up_another(t: &Fixture) {
    let (big, small) = (t.partner().await, t.partner().await);
    for n in 0..30 {
        t.clock.advance(std::time::Duration::from_millis(1));
        stored(t, if n < 25 { big } else { small }).await;
    }
    let ready = t
        .store
        .undispatched_jobs("background", t.now(), 8)
        .await
        .unwrap();
    let turns: Vec<bool> = ready.iter().map(|job| job.partner_id == small).collect();
    assert_eq!(turns, [false, true, false, true, false, true, false, true]);
    let of_big: Vec<JobId> = ready
        .iter()
        .filter(|j| j.partner_id == big)
        .map(|j| j.id)
        .collect();
    assert!(of_big.is_sorted());
    assert_eq!(
        t.store
            .undispatched_jobs("background", t.now(), 1)
            .await
            .unwrap()
            .len(),
        1
    );
}

async fn a_held_job_goes_with_the_end_of_the_one_before(t: &Fixture) {
    let partner = t.partner().await;
    let release = |held: &JobRow, now| ReleaseJob {
        job_id: held.id,
        payload: r#"{"told":1}"#.into(),
        wake_at: now + secs(15),
    };
    let pair = async || {
        let held = JobRow {
            wake_at: None,
            visible: false,
            ..t.job(partner)
        };
        let job = JobRow {
            then_job: Some(held.id),
            ..t.job(partner)
        };
        t.store.insert_job_then(&job, &held).await.unwrap();
        (job, held)
    };
    // By its end, and not by an attempt that failed.
    let (job, held) = pair().await;
    for (how, wake_at) in [
        (JobEnd::Snooze { run_at: t.now() }, None),
        (
            JobEnd::Completed {
                result: None,
                expires_at: None,
            },
            Some(t.now() + secs(15)),
        ),
    ] {
        let claimed = claim(t, &job);
        assert!(t.store.claim_job(claimed.clone()).await.unwrap().is_some());
        let is_final = matches!(how, JobEnd::Completed { .. });
        let mut ending = end(t, &claimed, how);
        ending.release = is_final.then(|| release(&held, t.now()));
        assert!(t.store.complete_job(ending).await.unwrap());
        assert_eq!(read(t, &held).await.wake_at, wake_at);
    }
    let held = read(t, &held).await;
    assert_eq!(held.payload, r#"{"told":1}"#);
    assert!(t.store.claim_job(claim(t, &held)).await.unwrap().is_some());
    // By being canceled; also while it waits for a slot, which is no start.
    let (job, held) = pair().await;
    let claimed = claim(t, &job);
    assert!(t.store.claim_job(claimed.clone()).await.unwrap().is_some());
    let snoozed = end(t, &claimed, JobEnd::Snooze { run_at: t.now() });
    assert!(t.store.complete_job(snoozed).await.unwrap());
    let (now, let_go) = (t.now(), release(&held, t.now()));
    let canceled = t.store.cancel_job(partner, job.id, now, Some(&let_go), now);
    assert!(canceled.await.unwrap());
    assert!(read(t, &held).await.wake_at.is_some());
}

async fn jobs_end_by_cancel_and_deadline(t: &Fixture) {
    let partner = t.partner().await;
    let job = stored(t, partner).await;
    let cancel = |id| async move {
        let (now, kept) = (t.now(), t.now() + secs(600));
        t.store.cancel_job(partner, id, kept, None, now).await
    };
    assert!(cancel(job.id).await.unwrap());
    assert!(!cancel(job.id).await.unwrap());
    assert_eq!(read(t, &job).await.expires_at, Some(t.now() + secs(600)));
    assert!(t.store.claim_job(claim(t, &job)).await.unwrap().is_none());
    let started = stored(t, partner).await;
    assert!(
        t.store
            .claim_job(claim(t, &started))
            .await
            .unwrap()
            .is_some()
    );
    assert!(!cancel(started.id).await.unwrap());

    let mut late = t.job(partner);
    late.deadline_at = Some(t.now() + secs(30));
    assert!(t.store.insert_job(late.clone()).await.unwrap());
    assert!(
        t.store
            .fail_overdue_jobs(t.now() + secs(29), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let failed = t
        .store
        .fail_overdue_jobs(t.now() + secs(30), 10)
        .await
        .unwrap();
    assert_eq!(failed.len(), 1);
    let row = read(t, &late).await;
    assert_eq!(
        (row.state, row.error_code.as_deref()),
        (JobState::Failed, Some("DEADLINE"))
    );
}

async fn jobs_are_listed_newest_first(t: &Fixture) {
    let partner = t.partner().await;
    let mut ids = Vec::new();
    for n in 0..5_u64 {
        t.clock.advance(secs(1));
        let mut job = t.job(partner);
        job.visible = n != 2;
        job.provider = Some(if n == 4 { "google" } else { "sandbox" }.into());
        t.store.insert_job(job.clone()).await.unwrap();
        ids.push(job.id);
    }
    let now = t.now();
    let canceled = t.store.cancel_job(partner, ids[0], now, None, now);
    assert!(canceled.await.unwrap());
    // Neither the one that its partner does not see, nor the one that was canceled.
    for (most, waiting) in [(100, 3), (2, 2)] {
        let counted = t.store.count_waiting(partner, most).await.unwrap();
        assert_eq!(counted, waiting);
    }
    let list = |filter: JobFilter| async move {
        let filter = JobFilter { limit: 2, ..filter };
        let (rows, total) = t.store.list_jobs(partner, &filter).await.unwrap();
        assert!(
            rows.iter()
                .all(|row| row.sealed.is_none() && row.result.is_none())
        );
        (
            rows.into_iter().map(|row| row.id).collect::<Vec<_>>(),
            total,
        )
    };
    let all = JobFilter::default;
    assert_eq!(list(all()).await, (vec![ids[4], ids[3]], 4));
    assert_eq!(
        list(JobFilter {
            before: Some(ids[3]),
            ..all()
        })
        .await
        .0,
        [ids[1], ids[0]]
    );
    assert_eq!(
        list(JobFilter {
            hidden_too: true,
            ..all()
        })
        .await
        .1,
        5
    );
    let states = vec![JobState::Canceled, JobState::Failed];
    assert_eq!(list(JobFilter { states, ..all() }).await, (vec![ids[0]], 1));
    let provider = Some("google".into());
    assert_eq!(
        list(JobFilter { provider, ..all() }).await,
        (vec![ids[4]], 1)
    );
    let service = Some("none".into());
    assert_eq!(list(JobFilter { service, ..all() }).await, (vec![], 0));
}

async fn another_epoch_of_the_queue_pushes_what_waits_again(t: &Fixture) {
    let partner = t.partner().await;
    let note = |epoch: &'static str| t.store.note_queue_epoch(epoch, t.now());
    assert_eq!(note("one").await.unwrap(), Some(0), "nothing waits yet");
    let (job, held) = (stored(t, partner).await, stored(t, partner).await);
    assert!(t.store.claim_job(claim(t, &held)).await.unwrap().is_some());
    let ready = async || {
        let urgency = job.urgency.as_str();
        let jobs = t.store.undispatched_jobs(urgency, t.now(), 10).await;
        jobs.unwrap().iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let sent = t.store.undispatched_jobs(&job.urgency, t.now(), 10).await;
    let (now, again) = (t.now(), t.now() + secs(120));
    let sent = sent.unwrap();
    t.store.mark_dispatched(&sent, now, again).await.unwrap();
    assert_eq!(note("one").await.unwrap(), None);
    assert!(ready().await.is_empty());
    assert_eq!(note("two").await.unwrap(), Some(1));
    assert_eq!(ready().await, [job.id], "not the one that runs");
    assert_eq!(note("two").await.unwrap(), None);
}

/// A worker may be quicker than whoever pushed: what it put off must not sleep until the push would be doubted.
async fn a_late_mark_leaves_what_was_put_off(t: &Fixture) {
    let job = stored(t, t.partner().await).await;
    let (pushed_at, again) = (t.now(), t.now() + secs(120));
    let pushed = t.store.undispatched_jobs(&job.urgency, pushed_at, 10).await;
    let mine = claim(t, &job);
    assert!(t.store.claim_job(mine.clone()).await.unwrap().is_some());
    let run_at = t.now() + secs(2);
    let snooze = end(t, &mine, JobEnd::Snooze { run_at });
    assert!(t.store.complete_job(snooze).await.unwrap());
    t.store
        .mark_dispatched(&pushed.unwrap(), pushed_at, again)
        .await
        .unwrap();
    let row = read(t, &job).await;
    assert_eq!((row.wake_at, row.dispatched_at), (Some(run_at), None));
}

mod every_engine {
    super::super::on_every_engine!(
        a_job_is_claimed_by_one,
        a_late_mark_leaves_what_was_put_off,
        another_epoch_of_the_queue_pushes_what_waits_again,
        every_text_and_every_byte_comes_back,
        only_the_holder_ends_a_job,
        retries_count_and_snoozes_do_not,
        what_was_lost_is_found_again,
        one_partners_backlog_does_not_hold_up_another,
        a_held_job_goes_with_the_end_of_the_one_before,
        jobs_end_by_cancel_and_deadline,
        jobs_are_listed_newest_first,
    );
}
