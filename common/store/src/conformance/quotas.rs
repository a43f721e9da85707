//! Quotas: what is in the ledger and what is handed out never exceed the plan, and what is not used comes back.

use futures::future::join_all;
use latchkey_domain::{PartnerId, QuotaBlockId};

use super::{Fixture, fixture::secs};
use crate::{QUOTA_BLOCK, QuotaBlock};

async fn take(t: &Fixture, partner: PartnerId, included: u64) -> Option<QuotaBlock> {
    let id = t.id(QuotaBlockId::new);
    let taken = t.store.take_quota(partner, id, included, t.now()).await;
    taken.unwrap()
}

async fn all_of_it_is_handed_out_and_no_more(t: &Fixture) {
    let (partner, other) = (t.partner().await, t.partner().await);
    t.clock.set_wall(t.now().month_start(1) + secs(7200));
    // At once, as many workers do.
    let taken = join_all((0..80).map(|_| take(t, partner, 45))).await;
    let blocks: Vec<QuotaBlock> = taken.into_iter().flatten().collect();
    assert_eq!(blocks.iter().map(|block| block.calls).sum::<u64>(), 45);
    // Which of them came first is not told: the first take two of what is left, the last take one.
    let largest = *blocks.iter().max_by_key(|block| block.calls).unwrap();
    let smallest = blocks.iter().map(|block| block.calls).min();
    assert_eq!((largest.calls, smallest), (2, Some(1)));
    assert!(take(t, partner, 45).await.is_none());
    // Another partner has its own, and a larger plan helps at once.
    assert!(take(t, other, 45).await.is_some());
    let more = take(t, partner, 46).await.unwrap();
    let back = t.store.give_back_quota(partner, more.id, 1);
    back.await.unwrap();

    // A call that counts leaves its block for the ledger: nothing becomes free.
    let receipt = t.call(partner);
    let insert = || t.store.insert_call_of(receipt.clone(), Some(largest.id));
    assert!(insert().await.unwrap());
    assert!(!insert().await.unwrap());
    assert!(take(t, partner, 45).await.is_none());
    // One that does not count stays in its block, until it is given back.
    let mut unsent = t.call(partner);
    unsent.billed = false;
    let inserted = t.store.insert_call_of(unsent, Some(largest.id));
    assert!(inserted.await.unwrap());
    assert!(take(t, partner, 45).await.is_none());
    let back = t.store.give_back_quota(partner, largest.id, 1);
    back.await.unwrap();
    assert_eq!(take(t, partner, 45).await.unwrap().calls, 1);

    // What a process that died had left comes back, all but the one call that was made.
    t.clock.advance(QUOTA_BLOCK);
    let left = join_all((0..80).map(|_| take(t, partner, 45))).await;
    let left: u64 = left.into_iter().flatten().map(|block| block.calls).sum();
    assert_eq!(left, 44);
    // With the month everything begins anew.
    t.clock.set_wall(t.now().month_start(1));
    assert!(take(t, partner, 45).await.is_some());
}

mod every_engine {
    super::super::on_every_engine!(all_of_it_is_handed_out_and_no_more);
}
