//! Usage: the same bytes however often it is rolled up, late rows included, and sums that agree.

use futures::future::join_all;
use latchkey_domain::{PartnerId, Timestamp, states::CallOutcome};

use super::{Fixture, fixture::secs};
use crate::{Granularity, UsageLine};

async fn everything(t: &Fixture, partner: PartnerId) -> String {
    let (from, to) = (Timestamp::from_secs(0), t.now() + secs(366 * 86_400));
    let mut all = Vec::new();
    for granularity in [Granularity::Hour, Granularity::Day, Granularity::Period] {
        let lines = t.store.usage(partner, from, to, granularity).await.unwrap();
        all.push(format!("{granularity:?} {lines:?}"));
    }
    all.join("\n")
}

fn billed(lines: &[UsageLine]) -> Vec<(u64, u64)> {
    lines.iter().map(|line| (line.calls, line.billed)).collect()
}

async fn rolled_up_three_times_it_gives_the_same_bytes(t: &Fixture) {
    let partner = t.partner().await;
    let month = t.now().month_start(1);
    // Calls over the turn of a month, on two services.
    t.clock.set_wall(month.minus(secs(2 * 3600)));
    for n in 0..12_u64 {
        let mut call = t.call(partner);
        call.service = if n % 3 == 0 { "mail" } else { "echo" }.into();
        call.billed = n % 4 != 0;
        assert!(t.store.insert_call(call).await.unwrap());
        t.clock.advance(secs(1200));
    }
    // One that is under way counts nowhere yet.
    let open = t.call(partner);
    assert!(t.store.begin_unsafe_call(open.clone()).await.unwrap());

    let first = t.store.roll_up_usage(t.now()).await.unwrap();
    assert_eq!(first.hours, 4);
    let once = everything(t, partner).await;
    let all = t.now() + secs(86_400);
    let periods = t
        .store
        .usage(partner, month.month_start(-1), all, Granularity::Period)
        .await;
    let periods = periods.unwrap();
    assert_eq!(billed(&periods), [(4, 3), (2, 1), (4, 3), (2, 2)]);
    for _ in 0..2 {
        t.clock.advance(secs(60));
        t.store.roll_up_usage(t.now()).await.unwrap();
        assert_eq!(everything(t, partner).await, once);
    }
    let rebuilt = t.store.rebuild_usage(partner, Timestamp::default(), all);
    assert!(rebuilt.await.unwrap() > 0);
    assert_eq!(everything(t, partner).await, once);

    // A late row reopens its hour, its day and its period.
    t.clock.advance(secs(86_400));
    t.store.roll_up_usage(t.now()).await.unwrap();
    let mut late = t.call(partner);
    late.completed_at = Some(month.minus(secs(3600)));
    assert!(t.store.insert_call(late).await.unwrap());
    let run = t.store.roll_up_usage(t.now()).await.unwrap();
    assert_eq!(run.hours, 1);
    let periods = t
        .store
        .usage(partner, month.month_start(-1), all, Granularity::Period)
        .await;
    assert_eq!(billed(&periods.unwrap())[0], (5, 4));
    let before = everything(t, partner).await;
    let rebuilt = t.store.rebuild_usage(partner, Timestamp::default(), all);
    assert!(rebuilt.await.unwrap() > 0);
    assert_eq!(everything(t, partner).await, before);
}

/// Schedulers, a rebuild and new receipts, all at once: nobody fails, and nothing that was read early stays.
async fn many_sum_up_at_once(t: &Fixture) {
    let partner = t.partner().await;
    let all = t.now() + secs(86_400);
    for _ in 0..5 {
        let calls: Vec<_> = (0..20).map(|_| t.call(partner)).collect();
        let added = calls.into_iter().map(|call| t.store.insert_call(call));
        let sums = (0..6).map(|_| t.store.roll_up_usage(t.now()));
        let rebuilt = t.store.rebuild_usage(partner, Timestamp::default(), all);
        let (added, sums, rebuilt) = futures::join!(join_all(added), join_all(sums), rebuilt);
        assert!(added.into_iter().all(Result::unwrap));
        assert!(sums.iter().all(Result::is_ok), "{sums:?}");
        rebuilt.unwrap();
    }
    t.store.roll_up_usage(t.now()).await.unwrap();
    let once = everything(t, partner).await;
    let rebuilt = t.store.rebuild_usage(partner, Timestamp::default(), all);
    assert!(rebuilt.await.unwrap() > 0);
    assert_eq!(everything(t, partner).await, once);
    let hours = t
        .store
        .usage(partner, Timestamp::default(), all, Granularity::Hour)
        .await;
    assert_eq!(billed(&hours.unwrap()), [(100, 100)]);
}

async fn the_statement_counts_to_this_moment(t: &Fixture) {
    let (partner, other) = (t.partner().await, t.partner().await);
    t.clock.set_wall(t.now().month_start(1) + secs(86_400));
    let count = || t.store.billed_calls(partner, t.now());
    assert_eq!(count().await.unwrap(), 0);
    for n in 1..=10 {
        assert!(t.store.insert_call(t.call(partner)).await.unwrap());
        assert!(t.store.insert_call(t.call(other)).await.unwrap());
        let mut unbilled = t.call(partner);
        unbilled.billed = false;
        unbilled.outcome = CallOutcome::NotSent;
        assert!(t.store.insert_call(unbilled).await.unwrap());
        assert_eq!(count().await.unwrap(), n);
        if n % 3 == 0 {
            t.store.roll_up_usage(t.now()).await.unwrap();
            assert_eq!(count().await.unwrap(), n);
        }
        t.clock.advance(secs(1900));
    }
    assert!(t.store.usage_watermark().await.unwrap().is_some());
    let lines = t.store.statement_lines(partner, t.now()).await.unwrap();
    assert_eq!(billed(&lines), [(20, 10)]);
    assert_eq!(lines[0].start, t.now().month_start(0));
    assert_eq!(
        t.store
            .billed_calls(partner, t.now().month_start(-1))
            .await
            .unwrap(),
        0
    );
}

async fn receipts_leave_once_they_are_rolled_up(t: &Fixture) {
    let partner = t.partner().await;
    t.clock.set_wall(t.now().month_start(1));
    let (start, calls) = (t.now(), 7);
    for _ in 0..calls {
        assert!(t.store.insert_call(t.call(partner)).await.unwrap());
        t.clock.advance(secs(1800));
    }
    let delete = |before: Timestamp, limit| async move {
        let deleted = t.store.delete_old_receipts(before, limit).await;
        deleted.unwrap()
    };
    // Not before their roll-up.
    assert_eq!(delete(t.now(), 100).await, 0);
    t.clock.advance(secs(7200));
    t.store.roll_up_usage(t.now()).await.unwrap();
    let before = everything(t, partner).await;
    let used = t.store.billed_calls(partner, start).await.unwrap();
    assert_eq!((used, before.is_empty()), (calls, false));
    // Two hours of it, in batches.
    let cut = start + secs(2 * 3600);
    assert_eq!(delete(cut, 3).await, 3);
    assert_eq!(delete(cut, 3).await, 1);
    assert_eq!(delete(cut, 3).await, 0);
    // What was counted stays counted, rebuilt or not.
    t.store.roll_up_usage(t.now()).await.unwrap();
    let rebuilt = t.store.rebuild_usage(partner, start, t.now());
    assert_eq!(rebuilt.await.unwrap(), 2);
    assert_eq!(everything(t, partner).await, before);
    assert_eq!(t.store.billed_calls(partner, start).await.unwrap(), used);
}

mod every_engine {
    super::super::on_every_engine!(
        receipts_leave_once_they_are_rolled_up,
        rolled_up_three_times_it_gives_the_same_bytes,
        many_sum_up_at_once,
        the_statement_counts_to_this_moment,
    );
}
