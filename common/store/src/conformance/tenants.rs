//! Another partner's id reads as none, for every aggregate; and a row that means nothing is named.

use latchkey_domain::{PartnerId, states::SessionStatus};

use super::{Fixture, fixture::secs};
use crate::{
    AccountFilter, AfterCode, AuthConfigChange, BeginAuthorizing, CallFilter, ConnectionFilter,
    FinishCall, GrantKey, Granularity, JobClaim, JobFilter, Landed, StoreError, TakeCode,
};

async fn another_partners_accounts_are_none(t: &Fixture) {
    let (mine, yours) = (t.partner().await, t.partner().await);
    let s = &t.store;
    let account = t.account(mine, "u1").await;
    let now = t.now();
    assert!(s.get_account(yours, account.id).await.unwrap().is_none());
    assert!(
        s.get_account_by_external(yours, "u1")
            .await
            .unwrap()
            .is_none()
    );
    let changed = s
        .update_account(yours, account.id, Some(Some("x")), None, now)
        .await;
    assert!(changed.unwrap().is_none());
    assert!(
        s.delete_account(yours, account.id, now)
            .await
            .unwrap()
            .is_none()
    );
    let all = AccountFilter {
        limit: 9,
        ..AccountFilter::default()
    };
    assert_eq!(s.list_accounts(yours, &all).await.unwrap(), (vec![], 0));
    assert_eq!(
        s.get_account(mine, account.id).await.unwrap().unwrap(),
        account
    );
}

async fn another_partners_sessions_are_none(t: &Fixture) {
    let (mine, yours) = (t.partner().await, t.partner().await);
    let s = &t.store;
    let account = t.account(mine, "u1").await;
    let now = t.now();
    // Their account cannot be given a session of ours.
    let mut foreign = t.session(&account, SessionStatus::Pending).await;
    let session = foreign.clone();
    foreign.id = t.id(latchkey_domain::SessionId::new);
    foreign.partner_id = yours;
    assert!(s.insert_session(&foreign).await.unwrap_err().is_conflict());
    assert!(
        s.get_session(yours, account.id, session.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        s.get_partner_session(yours, session.id)
            .await
            .unwrap()
            .is_none()
    );
    let begin = BeginAuthorizing {
        partner_id: yours,
        session_id: session.id,
        state_hash: [1; 32],
        binding_hash: [1; 32],
        verifier: None,
        now,
    };
    assert!(!s.begin_authorizing(&begin).await.unwrap());
    assert!(
        s.begin_authorizing(&BeginAuthorizing {
            partner_id: mine,
            ..begin
        })
        .await
        .unwrap()
    );
    let take = TakeCode {
        partner_id: yours,
        session_id: session.id,
        state_hash: [1; 32],
        code: vec![1],
        params: session.params.clone(),
        then: AfterCode::Exchange(Box::new(t.job(yours))),
        expires_at: session.expires_at,
        now,
    };
    assert!(!s.take_code(&take).await.unwrap());
    let confirm = s
        .confirm_session(yours, session.id, &[1; 32], "u1", &t.job(yours), now)
        .await;
    assert!(!confirm.unwrap());
    assert!(!s.mark_code_sent(yours, session.id, now).await.unwrap());
    assert!(!s.fail_session(yours, session.id, "x", now).await.unwrap());
}

async fn another_partners_connections_are_none(t: &Fixture) {
    let (mine, yours) = (t.partner().await, t.partner().await);
    let s = &t.store;
    let made = t.connect(mine, "u1").await;
    let (id, now) = (made.row.id, t.now());
    let foreign = GrantKey {
        partner_id: yours,
        id: made.grant.id,
    };
    assert!(s.get_connection(yours, id).await.unwrap().is_none());
    let row = &made.row;
    let found = s
        .find_reconnect(yours, row.account_id, row.auth_config_id, &row.identity)
        .await;
    assert!(found.unwrap().is_none());
    assert!(
        s.primary_connection(yours, row.account_id, "sandbox")
            .await
            .unwrap()
            .is_none()
    );
    let all = ConnectionFilter {
        revoked_too: true,
        ..ConnectionFilter::default()
    };
    assert!(s.list_connections(yours, &all).await.unwrap().is_empty());
    let switched = s
        .set_enabled_services(yours, id, &[("a".into(), false)].into(), now)
        .await;
    assert!(switched.unwrap().is_none());
    assert!(
        !s.set_connection_display_name(yours, id, None, now)
            .await
            .unwrap()
    );
    assert!(!s.pause_connection(yours, id, true, now).await.unwrap());
    assert!(
        s.mark_disconnected(yours, id, None, now)
            .await
            .unwrap()
            .is_none()
    );

    assert!(s.load_grant(foreign).await.unwrap().is_none());
    let claim = t.claim(&made.grant);
    let theirs = crate::GrantClaim {
        grant: foreign,
        ..claim.clone()
    };
    assert!(!s.claim_grant(theirs.clone()).await.unwrap());
    let landing = super::grants::landing(t, &theirs, 1);
    assert_eq!(s.land_grant(landing).await.unwrap(), Landed::Stale);
    assert!(s.claim_grant(claim).await.unwrap());
    let (ended, class) = (
        latchkey_domain::refresh::Ended::NotSent,
        latchkey_domain::refresh::Class::Operator,
    );
    assert!(
        !s.close_attempt(super::grants::closing(t, &theirs, ended, class))
            .await
            .unwrap()
    );
    let open = t.grant(&made.grant).await;
    assert!(!s.postpone_grant(foreign, open.rev, now).await.unwrap());
    assert!(!s.kill_grant(foreign, 1, "x", now).await.unwrap());
    assert!(!s.forget_grant(foreign, 1, now).await.unwrap());
    assert_eq!(t.grant(&made.grant).await, open);
}

async fn another_partners_jobs_calls_and_usage_are_none(t: &Fixture) {
    let (mine, yours) = (t.partner().await, t.partner().await);
    let s = &t.store;
    let (job, call, now) = (t.job(mine), t.call(mine), t.now());
    assert!(s.insert_job(job.clone()).await.unwrap());
    assert!(s.begin_unsafe_call(call.clone()).await.unwrap());
    assert!(s.get_job(yours, job.id).await.unwrap().is_none());
    let claim = JobClaim {
        partner_id: yours,
        job_id: job.id,
        claim: t.id(latchkey_domain::AttemptId::new),
        lease: secs(9),
    };
    assert!(s.claim_job(claim).await.unwrap().is_none());
    assert!(!s.cancel_job(yours, job.id, now, None, now).await.unwrap());
    let jobs = JobFilter {
        limit: 9,
        hidden_too: true,
        ..JobFilter::default()
    };
    assert_eq!(s.list_jobs(yours, &jobs).await.unwrap(), (vec![], 0));

    assert!(s.get_call(yours, call.id).await.unwrap().is_none());
    let finish = FinishCall {
        partner_id: yours,
        call_id: call.id,
        outcome: latchkey_domain::states::CallOutcome::Answered,
        status: None,
        billed: true,
        not_billed_reason: None,
        bytes_in: 0,
        bytes_out: 0,
        provider_time: secs(0),
        completed_at: now,
        quota_block: None,
    };
    assert!(!s.finish_unsafe_call(finish.clone()).await.unwrap());
    assert!(
        s.finish_unsafe_call(FinishCall {
            partner_id: mine,
            ..finish
        })
        .await
        .unwrap()
    );
    let calls = CallFilter {
        limit: 9,
        ..CallFilter::default()
    };
    assert!(s.list_calls(yours, &calls).await.unwrap().is_empty());
    s.roll_up_usage(now).await.unwrap();
    let (from, to) = (now.month_start(0), now.month_start(1));
    assert!(
        s.usage(yours, from, to, Granularity::Hour)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        s.usage(mine, from, to, Granularity::Period)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(s.billed_calls(yours, now).await.unwrap(), 0);
}

async fn another_partners_auth_configs_are_none(t: &Fixture) {
    let (mine, yours) = (t.partner().await, t.partner().await);
    let config = t.auth_config(mine).await;
    let change = AuthConfigChange {
        name: Some("x".into()),
        ..AuthConfigChange::default()
    };
    let changed = t
        .store
        .update_auth_config(yours, config.id, &change, t.now())
        .await;
    assert!(changed.unwrap().is_none());
    assert!(!t.store.delete_auth_config(yours, config.id).await.unwrap());
    assert!(
        t.store
            .get_auth_config(yours, config.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        t.store
            .list_auth_configs(PartnerId::OPERATOR)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        t.store
            .get_auth_config(mine, config.id)
            .await
            .unwrap()
            .unwrap(),
        config
    );
}

async fn a_value_that_means_nothing_is_named(t: &Fixture) {
    let partner = t.partner().await;
    let made = t.connect(partner, "u1").await;
    let named = |error: StoreError| match error {
        StoreError::Inconsistent { table, column, row } => format!("{table}.{column} of {row}"),
        other => panic!("{other}"),
    };
    let id = made.grant.id;
    t.meddle("UPDATE grants SET state = 'asleep'").await;
    let error = t.store.load_grant(made.grant.key()).await.unwrap_err();
    assert_eq!(named(error), format!("grants.state of {id}"));
    let error = t
        .store
        .get_connection(partner, made.row.id)
        .await
        .unwrap_err();
    assert_eq!(named(error), format!("grants.state of {id}"));
    t.meddle("UPDATE grants SET state = 'active', in_doubt = 2")
        .await;
    let error = t.store.load_grant(made.grant.key()).await.unwrap_err();
    assert_eq!(named(error), format!("grants.in_doubt of {id}"));
    t.meddle("UPDATE partners SET redirect_urls = 'none' WHERE id <> 'x'")
        .await;
    let error = t.store.get_partner(partner).await.unwrap_err();
    assert_eq!(named(error), format!("partners.redirect_urls of {partner}"));
}

mod every_engine {
    super::super::on_every_engine!(
        another_partners_accounts_are_none,
        another_partners_sessions_are_none,
        another_partners_connections_are_none,
        another_partners_jobs_calls_and_usage_are_none,
        another_partners_auth_configs_are_none,
        a_value_that_means_nothing_is_named,
    );
}
