//! Connect sessions: each step once, in order, in time.

use latchkey_domain::{AuthConfigId, states::SessionStatus};

use super::{Fixture, fixture::secs};
use crate::{AccountRow, AfterCode, BeginAuthorizing, SessionRow, TakeCode};

async fn start(t: &Fixture) -> (AccountRow, SessionRow) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let session = t.session(&account, SessionStatus::Pending).await;
    (account, session)
}

fn begin(t: &Fixture, session: &SessionRow, state: u8) -> BeginAuthorizing {
    BeginAuthorizing {
        partner_id: session.partner_id,
        session_id: session.id,
        state_hash: [state; 32],
        binding_hash: [2; 32],
        verifier: Some(vec![6; 30]),
        now: t.now(),
    }
}

fn take(t: &Fixture, session: &SessionRow, state: u8, then: AfterCode) -> TakeCode {
    TakeCode {
        partner_id: session.partner_id,
        session_id: session.id,
        state_hash: [state; 32],
        code: vec![7; 30],
        params: session.params.clone(),
        then,
        expires_at: session.expires_at,
        now: t.now(),
    }
}

async fn now_is(t: &Fixture, session: &SessionRow) -> SessionRow {
    let read = t
        .store
        .get_partner_session(session.partner_id, session.id)
        .await;
    read.unwrap().unwrap()
}

async fn a_state_works_once(t: &Fixture) {
    let (account, session) = start(t).await;
    let found = t
        .store
        .find_session_by_link(&session.link_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, session);
    assert!(
        t.store
            .begin_authorizing(&begin(t, &session, 1))
            .await
            .unwrap()
    );
    // Opening the link again gives a new state; the old one is spent.
    assert!(
        t.store
            .begin_authorizing(&begin(t, &session, 3))
            .await
            .unwrap()
    );
    assert!(
        t.store
            .find_session_by_state(&[1; 32])
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        t.store
            .find_session_by_state(&[3; 32])
            .await
            .unwrap()
            .unwrap()
            .id,
        session.id
    );

    let job = Box::new(t.job(account.partner_id));
    let stale = take(t, &session, 1, AfterCode::Exchange(job.clone()));
    assert!(!t.store.take_code(&stale).await.unwrap());
    assert!(
        t.store
            .get_job(account.partner_id, job.id)
            .await
            .unwrap()
            .is_none()
    );
    let good = TakeCode {
        expires_at: session.created_at + secs(60),
        ..take(t, &session, 3, AfterCode::Exchange(job.clone()))
    };
    assert!(t.store.take_code(&good).await.unwrap());
    assert!(!t.store.take_code(&good).await.unwrap());
    assert_eq!(
        t.store
            .get_job(account.partner_id, job.id)
            .await
            .unwrap()
            .unwrap(),
        *job
    );
    let row = now_is(t, &session).await;
    assert_eq!(
        (row.status, row.code),
        (SessionStatus::Exchanging, Some(vec![7; 30]))
    );
    assert_eq!(row.expires_at, session.created_at + secs(60));
    assert!(
        !t.store
            .begin_authorizing(&begin(t, &session, 4))
            .await
            .unwrap()
    );
}

async fn a_code_is_sent_once_and_forgotten(t: &Fixture) {
    let (account, session) = start(t).await;
    assert!(
        t.store
            .begin_authorizing(&begin(t, &session, 1))
            .await
            .unwrap()
    );
    let then = AfterCode::Exchange(Box::new(t.job(account.partner_id)));
    assert!(
        t.store
            .take_code(&take(t, &session, 1, then))
            .await
            .unwrap()
    );
    let mark = || {
        t.store
            .mark_code_sent(session.partner_id, session.id, t.now())
    };
    assert!(mark().await.unwrap());
    assert!(!mark().await.unwrap());
    let fail = |error| {
        t.store
            .fail_session(session.partner_id, session.id, error, t.now())
    };
    assert!(fail("token_exchange_failed").await.unwrap());
    assert!(!fail("access_denied").await.unwrap());
    let row = now_is(t, &session).await;
    assert_eq!((row.verifier, row.code), (None, None));
    assert_eq!(row.error.as_deref(), Some("token_exchange_failed"));
}

async fn a_confirmation_needs_code_and_user(t: &Fixture) {
    let (account, session) = start(t).await;
    assert!(
        t.store
            .begin_authorizing(&begin(t, &session, 1))
            .await
            .unwrap()
    );
    let wait = take(t, &session, 1, AfterCode::AwaitConfirmation([8; 32]));
    assert!(t.store.take_code(&wait).await.unwrap());
    assert_eq!(
        now_is(t, &session).await.status,
        SessionStatus::AwaitingConfirmation
    );
    let job = t.job(account.partner_id);
    let confirm = |hash: [u8; 32], user: &'static str, at| {
        let job = &job;
        async move {
            let (partner, id) = (session.partner_id, session.id);
            t.store
                .confirm_session(partner, id, &hash, user, job, at)
                .await
                .unwrap()
        }
    };
    assert!(!confirm([9; 32], "u1", t.now()).await);
    assert!(!confirm([8; 32], "u2", t.now()).await);
    assert!(!confirm([8; 32], "u1", t.now() + secs(1800)).await);
    assert!(confirm([8; 32], "u1", t.now()).await);
    assert!(!confirm([8; 32], "u1", t.now()).await);
    assert!(
        t.store
            .get_job(account.partner_id, job.id)
            .await
            .unwrap()
            .is_some()
    );
}

async fn sessions_end_with_their_time(t: &Fixture) {
    let (account, pending) = start(t).await;
    t.clock.advance(secs(10));
    let authorizing = t.session(&account, SessionStatus::Pending).await;
    assert!(
        t.store
            .begin_authorizing(&begin(t, &authorizing, 1))
            .await
            .unwrap()
    );
    let exchanging = t.session(&account, SessionStatus::Exchanging).await;
    t.clock.advance(secs(1790));
    assert!(
        !t.store
            .begin_authorizing(&begin(t, &pending, 2))
            .await
            .unwrap()
    );
    assert_eq!(t.store.expire_sessions(t.now(), 10).await.unwrap(), 1);
    assert_eq!(now_is(t, &pending).await.status, SessionStatus::Expired);
    t.clock.advance(secs(10));
    let job = Box::new(t.job(account.partner_id));
    let late = take(t, &authorizing, 1, AfterCode::Exchange(job));
    assert!(!t.store.take_code(&late).await.unwrap());
    assert_eq!(t.store.expire_sessions(t.now(), 10).await.unwrap(), 1);
    let row = now_is(t, &authorizing).await;
    assert_eq!((row.status, row.verifier), (SessionStatus::Expired, None));
    // What a worker has in hand ends by its outcome.
    assert_eq!(
        now_is(t, &exchanging).await.status,
        SessionStatus::Exchanging
    );

    let old = t.now() + secs(1);
    assert_eq!(t.store.delete_old_sessions(old, 1).await.unwrap(), 1);
    assert_eq!(t.store.delete_old_sessions(old, 9).await.unwrap(), 1);
}

async fn an_exchange_completes_its_session_and_job(t: &Fixture) {
    let (account, session) = start(t).await;
    assert!(
        t.store
            .begin_authorizing(&begin(t, &session, 1))
            .await
            .unwrap()
    );
    let job = t.job(account.partner_id);
    let then = AfterCode::Exchange(Box::new(job.clone()));
    assert!(
        t.store
            .take_code(&take(t, &session, 1, then))
            .await
            .unwrap()
    );
    let claim = t.id(latchkey_domain::AttemptId::new);
    let mut new = t.new_connection(&account, t.id(AuthConfigId::new), "ada");
    new.session_id = Some(session.id);
    new.job = Some(crate::CompleteJob {
        partner_id: account.partner_id,
        job_id: job.id,
        claim,
        end: crate::JobEnd::Completed {
            result: None,
            expires_at: None,
        },
        release: None,
        now: t.now(),
    });
    // A job that is not ours to end stops everything.
    assert!(
        t.store
            .store_connection(&new)
            .await
            .unwrap_err()
            .is_conflict()
    );
    assert_eq!(now_is(t, &session).await.status, SessionStatus::Exchanging);
    let claimed = t.store.claim_job(crate::JobClaim {
        partner_id: account.partner_id,
        job_id: job.id,
        claim,
        lease: secs(60),
    });
    assert!(claimed.await.unwrap().is_some());
    let made = t.store.store_connection(&new).await.unwrap();
    let row = now_is(t, &session).await;
    assert_eq!(
        (row.status, row.connection_id),
        (SessionStatus::Completed, Some(made.row.id))
    );
    assert_eq!((row.code, row.verifier), (None, None));
    let job = t
        .store
        .get_job(account.partner_id, job.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(job.state, latchkey_domain::states::JobState::Completed);
    // A session ends once.
    new.job = None;
    new.connection.id = t.id(latchkey_domain::ConnectionId::new);
    new.connection.identity = "other".into();
    assert!(
        t.store
            .store_connection(&new)
            .await
            .unwrap_err()
            .is_conflict()
    );
}

mod every_engine {
    super::super::on_every_engine!(
        a_state_works_once,
        a_code_is_sent_once_and_forgotten,
        a_confirmation_needs_code_and_user,
        sessions_end_with_their_time,
        an_exchange_completes_its_session_and_job,
    );
}
