//! [`Rig`]: a fleet on a PostgreSQL and a Redis of its own, which a test may break, and what every fault test
//! counts at its end.

use std::time::{Duration, Instant};

use futures::future::join_all;
use latchkey_servers::{PrivatePostgres, PrivateRedis};
use latchkey_tests::{Answer, Fleet, Partner, Sandbox, Server, ServerOptions};
use serde_json::{Value, json};

/// Requests at once while calls are accepted.
const AT_ONCE: usize = 50;
/// How often rows are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The servers beside the processes.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) sandbox: Sandbox,
    // Its database goes before its server does.
    pub(super) fleet: Fleet,
    pub(super) postgres: PrivatePostgres,
    pub(super) redis: PrivateRedis,
}

/// How many jobs ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) completed: i64,
    pub(super) failed: i64,
}

impl Rig {
    /// Starts the servers, and a sandbox with these settings.
    pub(super) async fn start(sandbox: &[&str]) -> Self {
        let settings = ["max_connections=300", "shared_buffers=64MB"];
        let (postgres, redis) = (
            PrivatePostgres::start_with(&settings).await,
            PrivateRedis::start().await,
        );
        let (postgres, redis) = (postgres.unwrap(), redis.unwrap());
        let fleet = Fleet::on(&postgres.url_of("postgres"), &redis.url()).await;
        Self {
            sandbox: Sandbox::start(sandbox).await,
            fleet,
            postgres,
            redis,
        }
    }

    /// A process with this role.
    pub(super) async fn process(&self, role: &'static str) -> Server {
        self.process_with(role, ServerOptions::default()).await
    }

    /// The same with more settings.
    pub(super) async fn process_with(&self, role: &'static str, options: ServerOptions) -> Server {
        // Enough connections and slots for a small machine, and no more: there are many processes.
        let options = options.quick().role(role);
        let options = options
            .with("WORKER__BACKGROUND", 256)
            .with("WORKER__PER_PROVIDER", 256);
        Server::join(&self.fleet, options).await
    }

    /// A partner with one connected account, `user-1`, through this API. Needs a worker.
    pub(super) async fn partner(&self, api: &Server) -> Partner {
        api.sandbox_config(&self.sandbox).await;
        let partner = api.partner("test").await;
        partner.connected("user-1").await;
        partner
    }

    /// Rows that a condition on `jobs` counts.
    pub(super) async fn jobs(&self, condition: &str) -> i64 {
        let query = format!("SELECT COUNT(*) FROM jobs WHERE {condition}");
        self.fleet.database().number(&query).await
    }

    /// Waits until no job is queued or running, at most so long; how the calls ended.
    pub(super) async fn settled(&self, within: Duration) -> Ends {
        let began = now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let open = self.jobs("state IN ('queued', 'running')").await;
            if open == 0 {
                break;
            }
            if began.elapsed() >= within {
                let some = "SELECT kind, state, attempts, lost, error, history FROM jobs \
                    WHERE state IN ('queued', 'running') LIMIT 5";
                let some = self.postgres.sql_in(self.fleet.database().name(), some);
                panic!("{open} jobs are not final after {within:?}, such as {some:?}");
            }
        }
        let calls = async |state: &str| {
            self.jobs(&format!("kind = 'provider_call' AND state = '{state}'"))
                .await
        };
        Ends {
            completed: calls("completed").await,
            failed: calls("failed").await,
        }
    }

    /// Asserts that every job of a call has exactly one receipt, final, and that as many were made as sent.
    pub(super) async fn every_call_has_one_receipt(&self, calls: usize) {
        let number = async |query: &str| self.fleet.database().number(query).await;
        let rows = number("SELECT COUNT(*) FROM calls WHERE job_id IS NOT NULL").await;
        let jobs =
            number("SELECT COUNT(DISTINCT job_id) FROM calls WHERE job_id IS NOT NULL").await;
        let open = number("SELECT COUNT(*) FROM calls WHERE outcome = 'sent'").await;
        let expected = i64::try_from(calls).unwrap();
        assert_eq!(
            (rows, jobs, open),
            (expected, expected, 0),
            "receipts, jobs with one, receipts without outcome"
        );
    }
}

/// The machine's time: these tests are about real time.
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is how long real processes take"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Has so many calls accepted: messages written by `user-1`.
pub(super) async fn accept_writes(partner: &Partner, count: usize) {
    let accepted = send_all(count, |n| write(partner, n)).await;
    assert!(
        accepted.iter().all(|answer| answer.status == 202),
        "{:?}",
        accepted.last()
    );
}

/// Has so many calls accepted that only read.
pub(super) async fn accept_reads(partner: &Partner, count: usize) {
    let later = &[("prefer", "respond-async")];
    let accepted = send_all(count, |_| {
        partner.call("GET", "/sandbox/profile", "user-1", later, None)
    })
    .await;
    assert!(
        accepted.iter().all(|answer| answer.status == 202),
        "{:?}",
        accepted.last()
    );
}

/// One message, written later.
pub(super) async fn write(partner: &Partner, n: usize) -> Answer {
    let body = json!({ "text": format!("message {n}") });
    let later = &[("prefer", "respond-async")];
    partner
        .call("POST", "/sandbox/messages", "user-1", later, Some(body))
        .await
}

async fn send_all<F: Future<Output = Answer>>(
    count: usize,
    send: impl Fn(usize) -> F,
) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(count);
    let numbers: Vec<usize> = (0..count).collect();
    for part in numbers.chunks(AT_ONCE) {
        answers.extend(join_all(part.iter().map(|n| send(*n))).await);
    }
    answers
}

/// The `data` of a job, as its partner sees it.
pub(super) fn job_id(answer: &Answer) -> String {
    let data: Value = answer.data();
    data["job_id"].as_str().unwrap().to_owned()
}
