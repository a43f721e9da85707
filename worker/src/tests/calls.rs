//! Calls that somebody waits for: what goes out, what comes back, what is recorded.

use std::time::Duration;

use latchkey_domain::{
    AccountId,
    states::{CallOutcome, PartnerStatus},
};
use latchkey_jobs::kinds::provider_call::CallResult;
use latchkey_limits::BreakerKey;
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use secrecy::ExposeSecret;

use super::{
    bench::{Bench, LONG},
    caller::{Seen, keyed, request},
};

#[tokio::test]
async fn a_call_goes_out_and_comes_back() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let mut sent = request("GET", "/echo/a%20b?q=1&q=2");
    sent.headers.extend(
        [
            ("x-custom", "kept"),
            ("cookie", "session=1"),
            ("authorization", "Bearer sk_live_partner"),
            ("x-account-id", "user-1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let kind = bench.call(&connection, "api");
    let job = bench.waiting(&kind, &sent).await;
    bench.clock.advance(Duration::from_millis(250));
    bench.run(&job).await;
    let answer = bench.answer_within(&job, LONG).await.unwrap();
    let CallResult::Answered {
        status,
        headers,
        limited_for_s,
    } = answer.result
    else {
        panic!("{answer:?}");
    };
    assert_eq!((status, limited_for_s), (200, None));
    assert!(headers.iter().any(|(name, _)| name == "content-type"));
    assert!(
        !headers.iter().any(|(name, _)| name == "set-cookie"),
        "{headers:?}"
    );
    let echo = bench
        .ask(&bench.call(&connection, "api"), &sent)
        .await
        .json();
    assert_eq!(echo["path"], "/api/echo/a%20b");
    assert_eq!(echo["query"], "q=1&q=2");
    assert_eq!(echo["headers"]["x-custom"], "kept");
    for gone in ["cookie", "x-account-id", "x-hop", "x-api-key"] {
        assert!(echo["headers"].get(gone).is_none(), "{gone}");
    }
    let row = &bench.receipts().await[0];
    assert_eq!(
        (row.id, row.outcome, row.status),
        (kind.call, CallOutcome::Answered, Some(200))
    );
    assert!(row.billed && row.not_billed_reason.is_none());
    assert_eq!(
        (row.path.as_str(), row.method.as_str()),
        ("/echo/a%20b", "GET")
    );
    assert_eq!(row.queued, Duration::from_millis(250));
    assert!(row.bytes_in > 0 && row.completed_at.is_some());
}

#[tokio::test]
async fn what_the_provider_says_passes_through() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    for status in [201, 204, 303, 404, 409, 422, 500, 503] {
        let target = format!("/echo?status={status}&location=https%3A%2F%2Felsewhere.example%2F");
        let seen = bench
            .ask(&bench.call(&connection, "api"), &request("POST", &target))
            .await;
        assert!(
            matches!(seen, Seen::Status(s, _) if s == status),
            "{status}: {seen:?}"
        );
    }
    let rows = bench.receipts().await;
    assert_eq!(rows.len(), 8);
    assert!(
        rows.iter()
            .all(|row| row.billed && row.outcome == CallOutcome::Answered)
    );
    assert_eq!(
        bench.sandbox.count(Counter::ApiWrites),
        8,
        "nothing was repeated or followed"
    );
}

#[tokio::test]
async fn too_often_is_told_with_its_time() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let fault = FaultKind::RateLimit { retry_after_s: 30 };
    bench.sandbox.fault(Fault::new(Target::Api, fault)).unwrap();
    let job = bench
        .waiting(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    bench.run(&job).await;
    let answer = bench.answer_within(&job, LONG).await.unwrap();
    let CallResult::Answered {
        status,
        limited_for_s,
        ..
    } = answer.result
    else {
        panic!("{answer:?}");
    };
    assert_eq!((status, limited_for_s), (429, Some(30)));
    assert!(bench.receipt().await.billed);
}

#[tokio::test]
async fn an_unsafe_request_whose_answer_is_lost_goes_out_once() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    for kind in [FaultKind::DropAfterActing, FaultKind::DropMidAnswer] {
        bench.sandbox.reset_counters();
        bench.sandbox.fault(Fault::new(Target::Api, kind)).unwrap();
        let seen = bench
            .ask(&bench.call(&connection, "api"), &request("POST", "/echo"))
            .await;
        assert_eq!(seen, Seen::error("OUTCOME_UNKNOWN"));
        assert_eq!(bench.sandbox.count(Counter::ApiWrites), 1);
        assert_eq!(bench.sandbox.count(Counter::ApiCalls), 1);
    }
    let rows = bench.receipts().await;
    assert!(
        rows.iter()
            .all(|row| row.billed && row.outcome == CallOutcome::Unknown)
    );
}

#[tokio::test]
async fn a_safe_request_is_repeated_when_the_connection_breaks() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::DropMidAnswer).times(2))
        .unwrap();
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    assert!(matches!(seen, Seen::Status(200, _)), "{seen:?}");
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 3);
    assert!(bench.receipt().await.billed, "three requests, one call");
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::DropMidAnswer).times(3))
        .unwrap();
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    assert_eq!(seen, Seen::error("PROVIDER_ERROR"));
}

#[tokio::test]
async fn a_key_that_the_service_honours_makes_an_unsafe_request_repeatable() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::DropMidAnswer))
        .unwrap();
    let kind = bench.call(&connection, "idem");
    let echo = bench
        .ask(&kind, &keyed("POST", "/echo", "mine"))
        .await
        .json();
    assert_eq!(echo["headers"]["x-idempotency-key"], "mine");
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 2);
    let row = bench.receipt().await;
    assert_eq!(
        (row.outcome, row.status),
        (CallOutcome::Answered, Some(200))
    );
}

#[tokio::test]
async fn a_refused_token_is_refreshed_and_the_request_goes_out_again() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    bench.sandbox.expire_access(None);
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("POST", "/echo"))
        .await;
    assert!(matches!(seen, Seen::Status(200, _)), "{seen:?}");
    assert_eq!(bench.sandbox.count(Counter::TokenRefresh), 1);
    assert_eq!(
        bench.sandbox.count(Counter::ApiWrites),
        1,
        "a 401 was not acted on"
    );
    assert_eq!(bench.sandbox.count(Counter::Api401), 1);
    assert!(bench.receipt().await.billed);
}

#[tokio::test]
async fn a_grant_that_died_says_so() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.revoke_all(None);
    let kind = bench.call(&connection, "api");
    let job = bench.waiting(&kind, &request("GET", "/echo")).await;
    bench.run(&job).await;
    let answer = bench.answer_within(&job, LONG).await.unwrap();
    let CallResult::Failed { code, reason, .. } = answer.result else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (code.as_str(), reason.as_deref()),
        ("NEEDS_REAUTH", Some("invalid_grant"))
    );
    let row = bench.receipt().await;
    assert_eq!(
        (row.outcome, row.status),
        (CallOutcome::Answered, Some(401))
    );
    // The next one does not even ask.
    bench.sandbox.reset_counters();
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    assert_eq!(seen, Seen::error("NEEDS_REAUTH"));
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 0);
}

#[tokio::test]
async fn an_answer_too_large_is_an_error_and_a_call() {
    let bench = Bench::with("bench", |config| config.http.call_answer_max_bytes = 1000).await;
    let connection = bench.connect().await;
    let big = request("GET", "/echo?raw=1&bytes=1001");
    let seen = bench.ask(&bench.call(&connection, "api"), &big).await;
    assert_eq!(seen, Seen::error("PAYLOAD_TOO_LARGE"));
    let row = bench.receipt().await;
    assert_eq!(
        (row.outcome, row.status, row.billed),
        (CallOutcome::Answered, Some(200), true)
    );
    let fits = request("GET", "/echo?raw=1&bytes=1000");
    let seen = bench.ask(&bench.call(&connection, "api"), &fits).await;
    assert!(matches!(seen, Seen::Status(200, body) if body.len() == 1000));
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_in_time() {
    let short = Duration::from_millis(50);
    let bench = Bench::with("bench", |config| config.calls.timeout = short).await;
    let connection = bench.connect().await;
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::Hang).times(2))
        .unwrap();
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    assert_eq!(seen, Seen::error("PROVIDER_TIMEOUT"));
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("DELETE", "/echo"))
        .await;
    assert_eq!(seen, Seen::error("OUTCOME_UNKNOWN"));
}

#[tokio::test]
async fn calls_over_the_minute_are_told_when_to_come_back() {
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
    bench.sandbox.reset_counters();
    let kind = bench.call(&connection, "api");
    let job = bench.waiting(&kind, &request("POST", "/echo")).await;
    bench.run(&job).await;
    let answer = bench.answer_within(&job, LONG).await.unwrap();
    let CallResult::Failed {
        code,
        retry_after_s,
        ..
    } = answer.result
    else {
        panic!("{answer:?}");
    };
    assert_eq!((code.as_str(), retry_after_s), ("RATE_LIMITED", Some(2)));
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 0);
    assert!(
        bench.receipts().await.is_empty(),
        "what was never begun has no receipt"
    );
    bench.clock.advance(Duration::from_secs(2));
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("POST", "/echo"))
        .await;
    assert!(matches!(seen, Seen::Status(200, _)), "{seen:?}");
}

#[tokio::test]
async fn a_failing_provider_is_left_alone() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let ctx = bench.ctx();
    let key = BreakerKey {
        provider: "bench".into(),
        auth_config: bench.auth_config,
    };
    bench
        .sandbox
        .fault(
            Fault::new(
                Target::Api,
                FaultKind::Fail {
                    status: 500,
                    body: None,
                },
            )
            .times(20),
        )
        .unwrap();
    for _ in 0..20 {
        let seen = bench
            .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
            .await;
        assert!(matches!(seen, Seen::Status(500, _)), "{seen:?}");
    }
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    assert_eq!(seen, Seen::error("PROVIDER_UNAVAILABLE"));
    assert!(matches!(
        ctx.breakers
            .admit(&key, latchkey_domain::Clock::monotonic(&*bench.clock)),
        latchkey_limits::Admission::Refused(_)
    ));
    bench.clock.advance(Duration::from_secs(10));
    let seen = bench
        .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    assert!(
        matches!(seen, Seen::Status(200, _)),
        "the probe closes it: {seen:?}"
    );
}

#[tokio::test]
async fn disconnected_paused_and_suspended_are_refused_before_anything_is_sent() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let (store, partner, now) = (&bench.ctx().store, bench.partner, bench.ctx().now());
    bench.sandbox.reset_counters();
    let ask = || async {
        bench
            .ask(&bench.call(&connection, "api"), &request("GET", "/echo"))
            .await
    };
    store
        .set_partner_status(partner, PartnerStatus::Suspended, now)
        .await
        .unwrap();
    assert_eq!(ask().await, Seen::error("PARTNER_SUSPENDED"));
    store
        .pause_connection(partner, connection.row.id, true, now)
        .await
        .unwrap();
    let changed = || {
        let changes = &bench.ctx().connection_changes;
        changes.fetch_add(1, std::sync::atomic::Ordering::Release)
    };
    changed();
    assert_eq!(ask().await, Seen::error("SERVICE_DISABLED"));
    store
        .mark_disconnected(partner, connection.row.id, None, now)
        .await
        .unwrap();
    changed();
    assert_eq!(ask().await, Seen::error("CONNECTION_NOT_FOUND"));
    assert_eq!(bench.sandbox.count(Counter::ApiCalls), 0);
}

#[tokio::test]
async fn calls_of_test_keys_are_never_billed() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    for method in ["GET", "POST"] {
        let mut kind = bench.call(&connection, "api");
        kind.test = true;
        bench.ask(&kind, &request(method, "/echo")).await;
    }
    for row in bench.receipts().await {
        assert_eq!(
            (row.billed, row.not_billed_reason.as_deref()),
            (false, Some("test_key"))
        );
        assert_eq!(row.outcome, CallOutcome::Answered);
    }
}

/// At least once: the queue may bring a waiting call to two workers.
#[tokio::test]
async fn a_waiting_call_that_comes_twice_acts_once() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.sandbox.reset_counters();
    let job = bench
        .waiting(&bench.call(&connection, "api"), &request("POST", "/echo"))
        .await;
    futures::join!(bench.run(&job), bench.run(&job));
    assert_eq!(bench.sandbox.count(Counter::ApiWrites), 1);
    assert!(bench.answer_within(&job, LONG).await.is_some());
    let safe = bench
        .waiting(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    futures::join!(bench.run(&safe), bench.run(&safe));
    assert_eq!(bench.receipts().await.len(), 2, "one receipt a call");
}

#[tokio::test]
async fn another_partners_request_does_not_open() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    bench.add_account(AccountId::from_u128(9), "user-9").await;
    let mut job = bench
        .waiting(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    let other = bench
        .waiting(&bench.call(&connection, "api"), &request("GET", "/echo"))
        .await;
    job.sealed = other.sealed;
    bench.run(&job).await;
    let answer = bench.answer_within(&job, LONG).await.unwrap();
    assert!(matches!(answer.result, CallResult::Failed { code, .. } if code == "INTERNAL"));
    assert!(
        bench
            .ctx()
            .metrics
            .encode()
            .contains("latchkey_aead_failures_total{table=\"calls\"} 1")
    );
    let tokens = bench.tokens(&connection).await;
    assert!(!tokens.access.expose_secret().is_empty());
}
