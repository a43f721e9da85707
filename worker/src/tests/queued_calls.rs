//! Calls that nobody waits for: rows that survive their worker, and unsafe ones that are never sent twice.

use std::time::Duration;

use latchkey_domain::{
    AuthConfigId,
    states::{CallOutcome, JobState},
};
use latchkey_jobs::{Job, JobKind, kinds::ProviderCall};
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use latchkey_store::{CallRow, Connection};

use super::{
    bench::Bench,
    caller::{Seen, keyed, request},
};

/// A worker claims the job, writes the receipt, and dies.
async fn died_after_begin(bench: &Bench, kind: &ProviderCall, job: &Job, outcome: CallOutcome) {
    bench.died(job).await;
    let (now, answered) = (bench.ctx().now(), outcome == CallOutcome::Answered);
    let row = CallRow {
        id: kind.call,
        partner_id: bench.partner,
        account_id: Some(kind.account),
        connection_id: Some(kind.connection),
        provider: kind.provider.clone(),
        service: kind.service.clone(),
        endpoint: kind.endpoint.clone(),
        method: "POST".into(),
        path: "/echo".into(),
        status: answered.then_some(200),
        outcome,
        billed: answered,
        not_billed_reason: None,
        bytes_in: 0,
        bytes_out: 0,
        queued: Duration::ZERO,
        throttled: Duration::ZERO,
        token_wait: Duration::ZERO,
        provider_time: Duration::ZERO,
        attempt: 1,
        job_id: Some(job.id),
        request_id: None,
        created_at: now,
        completed_at: answered.then_some(now),
    };
    assert!(bench.ctx().store.insert_call(row).await.unwrap());
}

#[tokio::test]
async fn a_queued_call_leaves_its_result_in_the_row() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    let kind = bench.call(&connection, "api");
    let job = bench.queued(&kind, &request("POST", "/echo?x=1")).await;
    futures::join!(bench.run(&job), bench.run(&job));
    assert_eq!(bench.sandbox.count(Counter::ApiWrites), 1);
    assert_eq!(bench.row(&job).await.state, JobState::Completed);
    let echo = bench.seen(&job).await.json();
    assert_eq!(
        (&echo["method"], &echo["query"]),
        (&"POST".into(), &"x=1".into())
    );
    assert_eq!(echo["body_bytes"], 8);
    let row = bench.receipt().await;
    assert_eq!(
        (row.id, row.job_id, row.attempt),
        (kind.call, Some(job.id), 1)
    );
    assert!(row.billed);
}

#[tokio::test]
async fn an_unsafe_call_that_may_have_been_sent_is_not_sent_again() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    for outcome in [
        CallOutcome::Sent,
        CallOutcome::Answered,
        CallOutcome::Unknown,
    ] {
        let kind = bench.call(&connection, "api");
        let job = bench.queued(&kind, &request("POST", "/echo")).await;
        died_after_begin(&bench, &kind, &job, outcome).await;
        bench.run(&job).await;
        assert_eq!(
            bench.seen(&job).await,
            Seen::error("OUTCOME_UNKNOWN"),
            "{outcome}"
        );
        let found = bench
            .ctx()
            .store
            .get_call(bench.partner, kind.call)
            .await
            .unwrap()
            .unwrap();
        let closed = if outcome == CallOutcome::Sent {
            CallOutcome::Unknown
        } else {
            outcome
        };
        assert_eq!(found.outcome, closed);
        if outcome == CallOutcome::Sent {
            assert!(found.billed, "what may have been sent is billed");
        }
    }
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 0);
}

#[tokio::test]
async fn one_whose_last_attempt_died_may_have_been_sent() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    let kind = bench.call(&connection, "api");
    let job = bench.queued(&kind, &request("POST", "/echo")).await;
    for _ in 1..ProviderCall::MAX_ATTEMPTS {
        bench.died(&job).await;
    }
    died_after_begin(&bench, &kind, &job, CallOutcome::Sent).await;
    bench.run(&job).await;
    assert_eq!(bench.seen(&job).await, Seen::error("OUTCOME_UNKNOWN"));
    assert_eq!(bench.receipt().await.outcome, CallOutcome::Unknown);
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 0);
}

#[tokio::test]
async fn a_repeatable_one_is_sent_again_with_its_key() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let kind = bench.call(&connection, "idem");
    let job = bench.queued(&kind, &keyed("POST", "/echo", "mine")).await;
    died_after_begin(&bench, &kind, &job, CallOutcome::Sent).await;
    bench.run(&job).await;
    let echo = bench.seen(&job).await.json();
    assert_eq!(echo["headers"]["x-idempotency-key"], "mine");
    let row = bench.receipt().await;
    assert_eq!((row.outcome, row.billed), (CallOutcome::Answered, true));
}

#[tokio::test]
async fn a_lost_answer_of_an_unsafe_call_ends_it() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::DropAfterActing))
        .unwrap();
    let job = bench
        .queued(&bench.call(&connection, "api"), &request("POST", "/echo"))
        .await;
    bench.run(&job).await;
    bench.run(&job).await;
    assert_eq!(bench.seen(&job).await, Seen::error("OUTCOME_UNKNOWN"));
    assert_eq!(bench.row(&job).await.state, JobState::Failed);
    assert_eq!(bench.sandbox.count(Counter::ApiWrites), 1);
}

#[tokio::test]
async fn a_safe_one_is_tried_in_further_attempts() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::DropMidAnswer).times(3))
        .unwrap();
    let job = bench
        .queued(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    bench.run(&job).await;
    let row = bench.row(&job).await;
    assert_eq!(
        (row.state, row.error_code.as_deref()),
        (JobState::Queued, Some("PROVIDER_ERROR"))
    );
    assert!(bench.receipts().await.is_empty(), "it has no outcome yet");
    bench.until_due(&job).await;
    bench.run(&job).await;
    assert!(matches!(bench.seen(&job).await, Seen::Status(200, _)));
    assert_eq!(bench.receipt().await.attempt, 2);
}

/// A connection whose provider is not there: its address is a port that nobody listens on.
async fn unreachable(bench: &Bench, connection: &Connection) {
    let change = latchkey_store::AuthConfigChange {
        params: Some(super::bench::map(
            &serde_json::json!({ "base_url": "http://127.0.0.1:1" }),
        )),
        ..latchkey_store::AuthConfigChange::default()
    };
    let id: AuthConfigId = connection.row.auth_config_id;
    let now = bench.ctx().now();
    bench
        .ctx()
        .store
        .update_auth_config(bench.partner, id, &change, now)
        .await
        .unwrap();
    bench.worker.clients.forget(bench.partner, id).await;
}

#[tokio::test]
async fn an_unsafe_call_that_was_surely_not_sent_is_tried_again() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    unreachable(&bench, &connection).await;
    let kind = bench.call(&connection, "api");
    let job = bench.queued(&kind, &request("POST", "/echo")).await;
    for attempt in 1..=5 {
        bench.until_due(&job).await;
        bench.run(&job).await;
        assert_eq!(
            bench.receipts().await.len(),
            attempt,
            "each attempt has its receipt"
        );
    }
    assert_eq!(bench.row(&job).await.state, JobState::Failed);
    assert_eq!(bench.seen(&job).await, Seen::error("PROVIDER_UNAVAILABLE"));
    for row in bench.receipts().await {
        assert_eq!((row.outcome, row.billed), (CallOutcome::NotSent, false));
        assert_eq!(row.not_billed_reason.as_deref(), Some("not_sent"));
    }
}

#[tokio::test]
async fn calls_over_the_minute_are_parked_and_hold_no_slot() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let (ctx, plan) = (
        bench.ctx(),
        bench.ctx().config.plan("free").unwrap().clone(),
    );
    while ctx
        .limits
        .take_permit(bench.partner, &plan, ctx.now())
        .await
        .allowed
    {}
    let began = ctx.now();
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let job = bench
            .queued(&bench.call(&connection, "api"), &request("GET", "/echo"))
            .await;
        bench.run(&job).await;
        let row = bench.row(&job).await;
        assert_eq!((row.state, row.attempts), (JobState::Queued, 0));
        jobs.push(job);
    }
    let mut waits = Vec::new();
    for job in &jobs {
        waits.push(began.until(bench.row(job).await.run_at).as_secs());
    }
    assert_eq!(
        waits,
        [2, 4, 6, 8],
        "at the partner's rate of one in two seconds"
    );
    for job in &jobs {
        bench.until_due(job).await;
        bench.run(job).await;
        assert_eq!(
            bench.row(job).await.state,
            JobState::Completed,
            "dispatched twice in all"
        );
    }
    let throttled: Vec<_> = bench
        .receipts()
        .await
        .iter()
        .map(|row| row.throttled.as_secs())
        .collect();
    assert_eq!(throttled, [2, 4, 6, 8]);
}
