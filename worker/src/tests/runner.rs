//! What the runner does around every handler.

use std::{future::Future, time::Duration};

use latchkey_domain::{JobId, backoff::Backoff, states::JobState};
use latchkey_jobs::{Job, JobKind, Outcome, Urgency};
use serde::{Deserialize, Serialize};

use super::bench::{Bench, PAST};
use crate::{
    Worker,
    register::{Handler, entry},
    runner::{self, Attempt, Failure},
};

/// A kind of the tests' own: it does what it is told.
#[derive(Serialize, Deserialize)]
enum Probe {
    Finish,
    Panic,
    Hang,
    Snooze,
}

impl JobKind for Probe {
    const KIND: &'static str = "probe";
    const URGENCY: Urgency = Urgency::Background;
    const TIMEOUT: Duration = Duration::from_millis(20);
    const MAX_ATTEMPTS: u32 = 3;
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(10),
        cap: Duration::from_secs(60),
    };
}

impl Handler for Probe {
    async fn run(self, worker: &Worker, _: &Attempt) -> Outcome {
        match self {
            Self::Finish => Outcome::Done(Some(b"sealed".to_vec())),
            Self::Panic => panic!("the token is hunter2"),
            Self::Hang => std::future::pending().await,
            Self::Snooze => Outcome::Snooze {
                until: worker.ctx.now() + Duration::from_secs(5),
                reason: "not yet".into(),
            },
        }
    }

    fn gave_up(
        self,
        _: &Worker,
        _: &Attempt,
        failure: Failure,
    ) -> impl Future<Output = Failure> + Send {
        std::future::ready(Failure {
            result: Some(b"what is left".to_vec()),
            ..failure
        })
    }
}

async fn deliver(bench: &Bench, job: &Job) {
    runner::run_as(bench.worker.clone(), Some(entry::<Probe>()), job.clone()).await;
}

#[tokio::test]
async fn a_job_that_comes_twice_runs_once() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Finish, None).await;
    futures::join!(deliver(&bench, &job), deliver(&bench, &job));
    deliver(&bench, &job).await;
    let row = bench.row(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Completed, 1));
    assert_eq!(row.result.as_deref(), Some(&b"sealed"[..]));
    assert!(row.expires_at.is_some(), "results are not kept for ever");
}

#[tokio::test]
async fn a_panic_is_tried_again_and_dead_after_the_last_attempt() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Panic, None).await;
    for attempt in 1..=3 {
        bench.until_due(&job).await;
        deliver(&bench, &job).await;
        let row = bench.row(&job).await;
        assert_eq!(row.attempts, attempt);
        let expected = if attempt < 3 {
            JobState::Queued
        } else {
            JobState::Failed
        };
        assert_eq!(row.state, expected);
        if attempt < 3 {
            let ceiling = Probe::BACKOFF.ceiling(attempt);
            assert!(
                row.run_at <= bench.ctx().now() + ceiling,
                "full jitter below the ceiling"
            );
        }
    }
    let row = bench.row(&job).await;
    assert_eq!(row.error_code.as_deref(), Some("INTERNAL"));
    let error = row.error.unwrap();
    assert_eq!(
        error,
        "gave up after 3 attempts; the last: its handler panicked"
    );
    assert_eq!(row.result.as_deref(), Some(&b"what is left"[..]));
    deliver(&bench, &job).await;
    assert_eq!(bench.row(&job).await.attempts, 3, "dead is dead");
}

#[tokio::test]
async fn a_handler_that_hangs_is_cut_off() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Hang, None).await;
    deliver(&bench, &job).await;
    let row = bench.row(&job).await;
    assert_eq!(row.state, JobState::Queued);
    assert_eq!(row.error.as_deref(), Some("it took longer than 20ms"));
}

#[tokio::test]
async fn a_snooze_spends_no_attempt() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Snooze, None).await;
    for _ in 0..5 {
        bench.until_due(&job).await;
        deliver(&bench, &job).await;
        let row = bench.row(&job).await;
        assert_eq!((row.state, row.attempts), (JobState::Queued, 0));
        assert_eq!(row.run_at, bench.ctx().now() + Duration::from_secs(5));
    }
}

/// A process that dies with the job each time: the attempts are counted before the work.
#[tokio::test]
async fn a_job_that_kills_its_process_goes_to_the_dead() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Finish, None).await;
    for _ in 0..Probe::MAX_ATTEMPTS {
        bench.died(&job).await;
    }
    deliver(&bench, &job).await;
    let row = bench.row(&job).await;
    assert_eq!(row.state, JobState::Failed);
    let error = row.error.unwrap();
    assert!(
        error.contains("gave up after 3 attempts; the last: its worker process ended 3 times"),
        "{error}"
    );
    let history: Vec<_> = row
        .history
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(history.len(), 4, "{history:?}");
    assert!(
        history[2].contains(r#""attempt":3"#) && history[2].contains("WORKER_LOST"),
        "{history:?}"
    );
}

/// A job that lost two workers may be what ends them: no other such job runs beside it.
#[tokio::test]
async fn suspects_run_one_at_a_time() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Finish, None).await;
    for _ in 0..2 {
        bench.died(&job).await;
    }
    let other = bench.worker.suspects.clone().try_acquire_owned().unwrap();
    deliver(&bench, &job).await;
    let row = bench.row(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Queued, 2));
    drop(other);
    bench.until_due(&job).await;
    deliver(&bench, &job).await;
    assert_eq!(bench.row(&job).await.state, JobState::Completed);
}

#[tokio::test]
async fn a_message_past_its_deadline_is_dropped() {
    let bench = Bench::new().await;
    let now = bench.ctx().now();
    let mut job = Job::new(JobId::from_u128(1), bench.partner, &Probe::Panic, now).unwrap();
    job.deadline = Some(PAST);
    deliver(&bench, &job).await;
    let metrics = bench.ctx().metrics.encode();
    let of_probe = |line: &&str| line.starts_with("latchkey_jobs_total") && line.contains("probe");
    let ends: Vec<_> = metrics.lines().filter(of_probe).collect();
    assert_eq!(
        ends,
        [r#"latchkey_jobs_total{end="skipped",kind="probe"} 1"#]
    );
}

#[tokio::test]
async fn a_kind_that_is_not_known_any_more_is_drained() {
    let bench = Bench::new().await;
    let job = bench.job(&Probe::Finish, None).await;
    bench.run(&job).await;
    let row = bench.row(&job).await;
    assert_eq!(row.state, JobState::Failed);
    assert!(row.error.unwrap().contains("no handler"));
}
