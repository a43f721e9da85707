//! Receipts: written once, finished once, listed by what a statement counts.

use std::time::Duration;

use latchkey_domain::{CallId, JobId, states::CallOutcome};

use super::{Fixture, fixture::secs};
use crate::{CallFilter, CallRow, FinishCall};

fn finish(t: &Fixture, call: &CallRow, outcome: CallOutcome) -> FinishCall {
    FinishCall {
        partner_id: call.partner_id,
        call_id: call.id,
        outcome,
        status: Some(201),
        billed: outcome.is_billed(),
        not_billed_reason: None,
        bytes_in: 7,
        bytes_out: 8,
        provider_time: Duration::from_millis(9),
        completed_at: t.now(),
        quota_block: None,
    }
}

async fn receipts_are_written_once(t: &Fixture) {
    let partner = t.partner().await;
    let call = t.call(partner);
    assert!(t.store.insert_call(call.clone()).await.unwrap());
    assert!(!t.store.insert_call(call.clone()).await.unwrap());
    assert_eq!(
        t.store.get_call(partner, call.id).await.unwrap().unwrap(),
        call
    );
}

async fn the_first_final_outcome_wins(t: &Fixture) {
    let partner = t.partner().await;
    let call = t.call(partner);
    assert!(t.store.begin_unsafe_call(call.clone()).await.unwrap());
    // Whoever comes second must not send.
    assert!(!t.store.begin_unsafe_call(call.clone()).await.unwrap());
    let sent = t.store.get_call(partner, call.id).await.unwrap().unwrap();
    assert_eq!(
        (sent.outcome, sent.billed, sent.completed_at),
        (CallOutcome::Sent, false, None)
    );

    t.clock.advance(secs(2));
    let unknown = finish(t, &call, CallOutcome::Unknown);
    let answered = finish(t, &call, CallOutcome::Answered);
    let both = futures::join!(
        t.store.finish_unsafe_call(unknown),
        t.store.finish_unsafe_call(answered)
    );
    let both = (both.0.unwrap(), both.1.unwrap());
    assert_ne!(both.0, both.1);
    let row = t.store.get_call(partner, call.id).await.unwrap().unwrap();
    let winner = if both.0 {
        CallOutcome::Unknown
    } else {
        CallOutcome::Answered
    };
    assert_eq!(
        (row.outcome, row.billed, row.completed_at),
        (winner, true, Some(t.now()))
    );
    assert_eq!((row.status, row.bytes_in, row.bytes_out), (Some(201), 7, 8));
}

async fn orphans_are_those_whose_sender_died(t: &Fixture) {
    let partner = t.partner().await;
    let (old, done) = (t.call(partner), t.call(partner));
    assert!(t.store.begin_unsafe_call(old.clone()).await.unwrap());
    assert!(t.store.insert_call(done).await.unwrap());
    t.clock.advance(secs(100));
    assert!(t.store.begin_unsafe_call(t.call(partner)).await.unwrap());
    let orphans = t
        .store
        .orphaned_calls(t.now().minus(secs(60)), 10)
        .await
        .unwrap();
    assert_eq!(
        orphans.iter().map(|call| call.id).collect::<Vec<_>>(),
        [old.id]
    );
}

async fn receipts_are_listed_as_a_statement_counts_them(t: &Fixture) {
    let partner = t.partner().await;
    t.clock.set_wall(t.now().floor(secs(3600)));
    let start = t.now();
    let job = t.id(JobId::new);
    let mut ids: Vec<CallId> = Vec::new();
    for n in 0..6_u64 {
        let mut call = t.call(partner);
        call.billed = n % 2 == 0;
        call.job_id = (n < 2).then_some(job);
        call.service = if n == 5 { "mail" } else { "echo" }.into();
        assert!(t.store.insert_call(call.clone()).await.unwrap());
        ids.push(call.id);
        t.clock.advance(secs(1800));
    }
    let list = |filter: CallFilter| async move {
        let filter = CallFilter {
            limit: 10,
            ..filter
        };
        let rows = t.store.list_calls(partner, &filter).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let all = CallFilter::default;
    let newest: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(list(all()).await, newest);
    assert_eq!(
        list(CallFilter {
            before: Some(ids[2]),
            ..all()
        })
        .await,
        [ids[1], ids[0]]
    );
    assert_eq!(
        list(CallFilter {
            billed: Some(false),
            ..all()
        })
        .await
        .len(),
        3
    );
    assert_eq!(
        list(CallFilter {
            job_id: Some(job),
            ..all()
        })
        .await,
        [ids[1], ids[0]]
    );
    assert_eq!(
        list(CallFilter {
            service: Some("mail".into()),
            ..all()
        })
        .await,
        [ids[5]]
    );
    let span = CallFilter {
        from: Some(start + secs(1800)),
        to: Some(start + secs(5400)),
        ..all()
    };
    assert_eq!(list(span).await, [ids[2], ids[1]]);
    let outcome = Some(CallOutcome::Unknown);
    assert!(list(CallFilter { outcome, ..all() }).await.is_empty());
    assert_eq!(t.store.calls_of_job(partner, job).await.unwrap().len(), 2);
}

mod every_engine {
    super::super::on_every_engine!(
        receipts_are_written_once,
        the_first_final_outcome_wins,
        orphans_are_those_whose_sender_died,
        receipts_are_listed_as_a_statement_counts_them,
    );
}
