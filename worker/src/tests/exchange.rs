//! Exchanges of codes: once, whatever happens, and the session ends with them.

use std::{collections::BTreeMap, time::Duration};

use latchkey_domain::{
    AccountId,
    states::{AuthConfigStatus, ConnectionStatus, GrantState, JobState, SessionStatus},
};
use latchkey_jobs::{JobKind, kinds::ExchangeCode};
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use secrecy::ExposeSecret;

use super::bench::{Bench, LONG, scopes};

#[tokio::test]
async fn a_code_becomes_a_connection() {
    let bench = Bench::new().await;
    let session = bench.session(bench.account, "alice").await;
    let job = bench.exchange_job(&session).await;
    bench.run(&job).await;
    assert_eq!(bench.exchange_answer(&job).await, None);
    let ended = bench.session_now(&session).await;
    assert_eq!(ended.status, SessionStatus::Completed);
    assert!(
        ended.code.is_none() && ended.verifier.is_none(),
        "what was secret is forgotten"
    );
    let id = ended.connection_id.unwrap();
    let found = bench
        .ctx()
        .store
        .get_connection(bench.partner, id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.status(bench.ctx().now()), ConnectionStatus::Active);
    assert_eq!(
        (found.row.identity.as_str(), found.grant.version),
        ("alice", 1)
    );
    assert_eq!(found.row.label.as_deref(), Some("alice@sandbox.example"));
    let granted = BTreeMap::from(
        ["api.read", "api.write", "idem.write"].map(|permission| (permission.to_owned(), true)),
    );
    assert_eq!(found.row.enabled_services, granted);
    let (due, end) = (found.grant.due_at.unwrap(), found.grant.expires_at.unwrap());
    assert!(found.grant.issued_at < due && due < end);
    assert!(found.grant.refreshable);
    assert_eq!(bench.tokens(&found).await.scopes, scopes());
    assert_eq!(bench.row(&job).await.state, JobState::Completed);
    assert_eq!(bench.sandbox.count(Counter::TokenExchange), 1);
}

#[tokio::test]
async fn a_message_that_comes_twice_exchanges_once() {
    let bench = Bench::new().await;
    let session = bench.session(bench.account, "alice").await;
    let job = bench.exchange_job(&session).await;
    futures::join!(bench.run(&job), bench.run(&job), bench.run(&job));
    assert_eq!(bench.sandbox.count(Counter::TokenRequests), 1);
    assert_eq!(
        bench.session_now(&session).await.status,
        SessionStatus::Completed
    );
    // Another job for the same session, as a careless retry would write it.
    let second = bench.exchange_job(&session).await;
    bench.run(&second).await;
    assert_eq!(bench.exchange_answer(&second).await, None);
    assert_eq!(bench.sandbox.count(Counter::TokenRequests), 1);
}

#[tokio::test]
async fn a_lost_answer_fails_the_session_and_nothing_is_sent_again() {
    let bench = Bench::new().await;
    bench
        .sandbox
        .fault(Fault::new(Target::Exchange, FaultKind::DropAfterActing))
        .unwrap();
    let session = bench.session(bench.account, "alice").await;
    let job = bench.exchange_job(&session).await;
    bench.run(&job).await;
    assert_eq!(
        bench.exchange_answer(&job).await.as_deref(),
        Some("token_exchange_failed")
    );
    let ended = bench.session_now(&session).await;
    assert_eq!(ended.status, SessionStatus::Failed);
    assert_eq!(ended.error.as_deref(), Some("token_exchange_failed"));
    assert!(ended.code.is_none());
    bench.run(&job).await;
    assert_eq!(bench.sandbox.count(Counter::TokenRequests), 1);
}

/// The job waited for longer than the code works: the provider would refuse it, so it is not sent.
#[tokio::test]
async fn a_code_that_is_too_old_is_not_sent() {
    let cases = [
        ("hasty", "session_expired", 0),
        ("bench", "token_exchange_failed", 1),
    ];
    for (provider, code, requests) in cases {
        let code = Some(code);
        let bench = Bench::at(provider).await;
        let session = bench.session(bench.account, "alice").await;
        bench.clock.advance(bench.ctx().config.connect.session);
        let job = bench.exchange_job(&session).await;
        bench.run(&job).await;
        assert_eq!(
            bench.exchange_answer(&job).await.as_deref(),
            code,
            "{provider}"
        );
        let ended = bench.session_now(&session).await;
        assert_eq!(ended.error.as_deref(), code, "{provider}");
        assert_eq!(bench.sandbox.count(Counter::TokenRequests), requests);
    }
}

/// The process dies after the code was marked as sent: whoever comes next does not know whether it was.
#[tokio::test]
async fn a_code_that_was_marked_is_not_sent_by_the_next_attempt() {
    let bench = Bench::new().await;
    let ctx = bench.ctx();
    let session = bench.session(bench.account, "alice").await;
    let job = bench.exchange_job(&session).await;
    let marked = ctx
        .store
        .mark_code_sent(bench.partner, session.id, ctx.now())
        .await;
    assert!(marked.unwrap());
    bench.died(&job).await;
    bench.run(&job).await;
    assert_eq!(
        bench.exchange_answer(&job).await.as_deref(),
        Some("token_exchange_failed")
    );
    assert_eq!(
        bench.session_now(&session).await.status,
        SessionStatus::Failed
    );
    assert_eq!(bench.sandbox.count(Counter::TokenRequests), 0);
}

/// A process that dies with the job each time leaves no session at `exchanging`.
#[tokio::test]
async fn an_exchange_that_is_given_up_fails_the_session() {
    let bench = Bench::new().await;
    let session = bench.session(bench.account, "alice").await;
    let job = bench.exchange_job(&session).await;
    for _ in 0..ExchangeCode::MAX_ATTEMPTS {
        bench.died(&job).await;
    }
    bench.run(&job).await;
    assert_eq!(bench.row(&job).await.state, JobState::Failed);
    let ended = bench.session_now(&session).await;
    assert_eq!(ended.error.as_deref(), Some("token_exchange_failed"));
    assert_eq!(bench.sandbox.count(Counter::TokenRequests), 0);
}

#[tokio::test]
async fn refusals_get_the_code_of_the_redirect() {
    let cases = [
        (
            FaultKind::OauthError {
                code: "invalid_grant".into(),
            },
            "token_exchange_failed",
        ),
        (
            FaultKind::OauthError {
                code: "invalid_scope".into(),
            },
            "invalid_scope",
        ),
        (
            FaultKind::OauthError {
                code: "access_denied".into(),
            },
            "access_denied",
        ),
        (
            FaultKind::Fail {
                status: 503,
                body: None,
            },
            "provider_unavailable",
        ),
        (
            FaultKind::RateLimit { retry_after_s: 9 },
            "provider_unavailable",
        ),
        (FaultKind::Html, "token_exchange_failed"),
        (FaultKind::Garbage, "token_exchange_failed"),
        (
            FaultKind::ErrorIn200 {
                code: "bad_verification_code".into(),
            },
            "token_exchange_failed",
        ),
        (FaultKind::Big { bytes: 10 << 20 }, "token_exchange_failed"),
        (FaultKind::DropBefore, "token_exchange_failed"),
    ];
    let bench = Bench::new().await;
    for (kind, code) in cases {
        let session = bench.session(bench.account, "alice").await;
        bench
            .sandbox
            .fault(Fault::new(Target::Exchange, kind.clone()))
            .unwrap();
        let job = bench.exchange_job(&session).await;
        bench.run(&job).await;
        assert_eq!(
            bench.exchange_answer(&job).await.as_deref(),
            Some(code),
            "{kind:?}"
        );
        assert_eq!(
            bench.session_now(&session).await.status,
            SessionStatus::Failed
        );
        assert_eq!(bench.row(&job).await.error_code.as_deref(), Some(code));
    }
}

#[tokio::test]
async fn a_refused_client_pauses_the_auth_config() {
    let bench = Bench::new().await;
    let session = bench.session(bench.account, "alice").await;
    let fault = FaultKind::OauthError {
        code: "invalid_client".into(),
    };
    bench
        .sandbox
        .fault(Fault::new(Target::Exchange, fault))
        .unwrap();
    let job = bench.exchange_job(&session).await;
    bench.run(&job).await;
    assert_eq!(
        bench.exchange_answer(&job).await.as_deref(),
        Some("token_exchange_failed")
    );
    let config = bench
        .ctx()
        .store
        .get_auth_config(bench.partner, bench.auth_config)
        .await;
    let config = config.unwrap().unwrap();
    assert_eq!(config.status, AuthConfigStatus::Paused);
    assert_eq!(config.status_reason.as_deref(), Some("invalid_client"));
}

#[tokio::test]
async fn connecting_again_keeps_the_connection_and_its_switches() {
    let bench = Bench::new().await;
    let first = bench.connect().await;
    let off = BTreeMap::from([("api.write".to_owned(), false)]);
    let store = &bench.ctx().store;
    store
        .set_enabled_services(bench.partner, first.row.id, &off, bench.ctx().now())
        .await
        .unwrap();
    let before = bench.tokens(&first).await;
    bench.clock.advance(Duration::from_secs(60));
    let again = bench.connect().await;
    assert_eq!(
        (again.row.id, again.grant.id),
        (first.row.id, first.grant.id)
    );
    assert_eq!(again.grant.version, 2);
    assert_eq!(again.grant.state, GrantState::Active);
    assert!(again.row.connected_at > first.row.connected_at);
    assert!(!again.row.enabled_services["api.write"]);
    assert!(again.row.enabled_services["api.read"]);
    let after = bench.tokens(&again).await;
    assert_ne!(after.access.expose_secret(), before.access.expose_secret());
    // Somebody else of the provider is another connection.
    let other = bench.connect_account(bench.account, "bob").await;
    assert_ne!(other.row.id, first.row.id);
}

/// The account is deleted while the provider thinks: nothing is left behind there.
#[tokio::test]
async fn what_comes_for_a_deleted_account_is_revoked() {
    let bench = Bench::new().await;
    bench
        .sandbox
        .change(|settings| settings.token_latency_ms = 50)
        .unwrap();
    let account = AccountId::from_u128(7);
    bench.add_account(account, "user-7").await;
    let session = bench.session(account, "carol").await;
    let job = bench.exchange_job(&session).await;
    let delete = async {
        bench.sandbox.wait(Counter::TokenRequests, 1, LONG).await;
        let now = bench.ctx().now();
        bench
            .ctx()
            .store
            .delete_account(bench.partner, account, now)
            .await
            .unwrap();
    };
    futures::join!(bench.run(&job), delete);
    assert!(bench.exchange_answer(&job).await.is_some());
    assert_eq!(bench.sandbox.count(Counter::Revocations), 1);
    assert_eq!(bench.sandbox.grants_alive(), 0);
}

#[tokio::test]
async fn an_identity_that_does_not_come_fails_the_session() {
    let bench = Bench::new().await;
    let session = bench.session(bench.account, "alice").await;
    let fault = Fault::new(
        Target::Api,
        FaultKind::Fail {
            status: 502,
            body: None,
        },
    )
    .times(2);
    bench.sandbox.fault(fault).unwrap();
    let job = bench.exchange_job(&session).await;
    bench.run(&job).await;
    assert_eq!(
        bench.exchange_answer(&job).await.as_deref(),
        Some("provider_unavailable")
    );
    // Once is no more than a stumble.
    let session = bench.session(bench.account, "alice").await;
    bench
        .sandbox
        .fault(Fault::new(Target::Api, FaultKind::DropBefore))
        .unwrap();
    let job = bench.exchange_job(&session).await;
    bench.run(&job).await;
    assert_eq!(bench.exchange_answer(&job).await, None);
}
