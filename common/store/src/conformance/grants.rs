//! Grants: claims by compare-and-set, landings by version alone, closings by version and attempt, sweeps,
//! and what is due.

use latchkey_domain::{
    AttemptId,
    refresh::{Class, DeadReason, Ended, close},
    states::GrantState,
};

use super::{Fixture, fixture::secs};
use crate::{CloseAttempt, GrantClaim, GrantRow, Landed, Landing, Store, StoreConfig};

/// An answer to this claim's generation.
pub(super) fn landing(t: &Fixture, claim: &GrantClaim, generation: i64) -> Landing {
    Landing {
        grant: claim.grant,
        generation,
        attempt: claim.attempt,
        sealed: vec![u8::try_from(generation).unwrap(); 30],
        issued_at: t.now(),
        expires_at: Some(t.now() + secs(3600)),
        due_at: Some(t.now() + secs(3000)),
        refreshable: true,
        dies_at: Some(t.now() + secs(90_000)),
        took: Some(secs(1)),
        now: t.now(),
    }
}

/// An end of this claim without a successor.
pub(super) fn closing(t: &Fixture, claim: &GrantClaim, ended: Ended, class: Class) -> CloseAttempt {
    CloseAttempt {
        grant: claim.grant,
        version: 1,
        attempt: claim.attempt,
        closing: close(ended, class, false),
        retry_at: Some(t.now() + secs(2)),
        failures: 1,
        last_failure: Some("timeout".into()),
        outcome: "transient",
        took: Some(secs(2)),
        due_at: Some(t.now() + secs(60)),
        now: t.now(),
    }
}

async fn start(t: &Fixture) -> (GrantRow, GrantClaim) {
    let partner = t.partner().await;
    let made = t.connect(partner, "u1").await;
    let claim = t.claim(&made.grant);
    (made.grant, claim)
}

async fn of_claims_made_at_once_one_wins(t: &Fixture) {
    let (row, _) = start(t).await;
    let claims: Vec<_> = (0..20).map(|_| t.claim(&row)).collect();
    let attempts: Vec<_> = claims.iter().map(|claim| claim.attempt).collect();
    let won = futures::future::join_all(claims.into_iter().map(|c| t.store.claim_grant(c))).await;
    let won: Vec<bool> = won.into_iter().map(Result::unwrap).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = attempts[won.iter().position(|won| *won).unwrap()];
    let taken = t.grant(&row).await;
    assert_eq!(taken, row, "a claim leaves the grant's row as it is");
    let open = t.open(&row).await.unwrap();
    assert_eq!((open.attempt, open.replaced), (winner, None));
    // The deadline is the lease from database time.
    assert!(open.lease_until >= t.now() + secs(40) && open.lease_until < t.now() + secs(100));
    assert_eq!(open.first_claim_at, t.now());
    // Whoever read the row before it changed does not win either.
    assert!(!t.store.claim_grant(t.claim(&row)).await.unwrap());
}

async fn two_processes_never_share_a_grant(t: &Fixture) {
    let clock = std::sync::Arc::clone(&t.clock) as std::sync::Arc<dyn latchkey_domain::Clock>;
    let other = Store::open(StoreConfig::new(t.url.clone(), clock));
    let stores = [t.store.clone(), other.await.unwrap()];
    let partner = t.partner().await;
    let mut claims = Vec::new();
    for n in 0..40 {
        let made = t.connect(partner, &format!("u{n}")).await;
        // Each process claims each grant, in orders that cross.
        claims.push((0, t.claim(&made.grant)));
        claims.insert(0, (1, t.claim(&made.grant)));
    }
    let won = claims
        .iter()
        .map(|(process, claim)| stores[*process].claim_grant(claim.clone()));
    let won = futures::future::join_all(won).await;
    let mut winners = std::collections::HashMap::new();
    for ((_, claim), won) in claims.iter().zip(won) {
        if won.unwrap() {
            assert_eq!(winners.insert(claim.grant, claim.attempt), None);
        }
    }
    assert_eq!(winners.len(), 40);
    for (grant, attempt) in winners {
        let open = t.store.load_grant(grant).await.unwrap().unwrap().open;
        assert_eq!(open.unwrap().attempt, attempt);
    }
    stores[1].close().await;
}

async fn an_answer_lands_by_version_alone(t: &Fixture) {
    let (row, claim) = start(t).await;
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    // The attempt was closed meanwhile and the grant declared dead: the answer still lands.
    let dead = closing(t, &claim, Ended::Refused, Class::Permanent);
    assert!(t.store.close_attempt(dead).await.unwrap());
    let closed = t.grant(&row).await;
    assert_eq!(
        (closed.state, closed.due_at),
        (GrantState::NeedsReauth, None)
    );
    assert_eq!(
        closed.reason.as_deref(),
        Some(DeadReason::InvalidGrant.as_str())
    );
    let landed = t.store.land_grant(landing(t, &claim, 1)).await.unwrap();
    assert_eq!(
        landed,
        Landed::Stored {
            version: 2,
            revoking: false
        }
    );
    let live = t.store.load_grant(row.key()).await.unwrap().unwrap();
    assert_eq!(
        (live.row.state, live.row.reason),
        (GrantState::Active, None)
    );
    assert_eq!((live.row.failures, live.row.retry_at), (0, None));
    assert_eq!(live.row.due_at, Some(t.now() + secs(3000)));
    let secret = live.secret.unwrap();
    assert_eq!((secret.version, secret.sealed), (2, vec![1; 30]));

    // A stale one changes nothing, and a journal replayed twice lands once.
    let before = t.grant(&row).await;
    assert_eq!(
        t.store.land_grant(landing(t, &claim, 1)).await.unwrap(),
        Landed::Stale
    );
    assert_eq!(
        t.store.land_grant(landing(t, &claim, 3)).await.unwrap(),
        Landed::Stale
    );
    assert_eq!(t.grant(&row).await, before);
    let again = landing(t, &claim, 2);
    let both = futures::join!(t.store.land_grant(again.clone()), t.store.land_grant(again));
    let both = [both.0.unwrap(), both.1.unwrap()];
    assert_eq!(
        both.iter()
            .filter(|landed| **landed == Landed::Stale)
            .count(),
        1
    );
}

async fn a_landing_ends_whatever_attempt_is_open(t: &Fixture) {
    let (row, claim) = start(t).await;
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    let unknown = closing(t, &claim, Ended::Unknown, Class::Transient);
    assert!(t.store.close_attempt(unknown).await.unwrap());
    let second = t.claim(&t.grant(&row).await);
    assert!(t.store.claim_grant(second.clone()).await.unwrap());
    let landed = t.store.land_grant(landing(t, &claim, 1)).await.unwrap();
    assert_eq!(
        landed,
        Landed::Stored {
            version: 2,
            revoking: false
        }
    );
    let now = t.grant(&row).await;
    assert_eq!(t.open(&row).await, None);
    assert_eq!((now.in_doubt, now.first_claim_at), (false, None));
    // The second attempt's end is of a generation that is past.
    let late = closing(t, &second, Ended::Refused, Class::Permanent);
    assert!(!t.store.close_attempt(late).await.unwrap());
    assert_eq!(t.grant(&row).await, now);
}

async fn closing_matches_version_and_attempt(t: &Fixture) {
    let (row, claim) = start(t).await;
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    let good = closing(t, &claim, Ended::Unknown, Class::Transient);
    let other = CloseAttempt {
        attempt: t.id(AttemptId::new),
        ..good.clone()
    };
    assert!(!t.store.close_attempt(other).await.unwrap());
    let older = CloseAttempt {
        version: 0,
        ..good.clone()
    };
    assert!(!t.store.close_attempt(older).await.unwrap());
    assert!(t.store.close_attempt(good.clone()).await.unwrap());
    assert!(!t.store.close_attempt(good).await.unwrap());
    let closed = t.grant(&row).await;
    assert!(t.open(&row).await.is_none() && closed.in_doubt);
    assert_eq!(
        (closed.closed_at, closed.first_claim_at),
        (Some(t.now()), Some(t.now()))
    );
    assert_eq!(
        (closed.failures, closed.retry_at),
        (1, Some(t.now() + secs(2)))
    );
    assert_eq!(
        (closed.due_at, closed.wake_at),
        (Some(t.now() + secs(60)), closed.due_at)
    );

    // Closing as unsent leaves an older doubt, and its time, as they were.
    let doubt_from = t.now();
    t.clock.advance(secs(100));
    let second = t.claim(&closed);
    assert!(t.store.claim_grant(second.clone()).await.unwrap());
    let limited = Class::RateLimited(t.now());
    let mut unsent = closing(t, &second, Ended::NotSent, limited);
    unsent.closing = close(Ended::NotSent, limited, true);
    assert!(t.store.close_attempt(unsent).await.unwrap());
    let closed = t.grant(&row).await;
    assert_eq!(
        (closed.in_doubt, closed.closed_at),
        (true, Some(doubt_from))
    );

    // A refusal ends doubt and grant.
    let third = t.claim(&closed);
    assert!(t.store.claim_grant(third.clone()).await.unwrap());
    let mut refused = closing(t, &third, Ended::Refused, Class::Permanent);
    refused.closing = close(Ended::Refused, Class::Permanent, true);
    assert!(t.store.close_attempt(refused).await.unwrap());
    let dead = t.grant(&row).await;
    assert_eq!(
        (dead.state, dead.in_doubt, dead.closed_at),
        (GrantState::NeedsReauth, false, None)
    );
    assert_eq!(dead.reason.as_deref(), Some("rotation_outcome_unknown"));
    assert!(!t.store.claim_grant(t.claim(&dead)).await.unwrap());
}

async fn sweeps_show_doubt_and_count(t: &Fixture) {
    let (row, claim) = start(t).await;
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    let end = t.open(&row).await.unwrap().lease_until;
    let sweep = |at| t.store.sweep_overdue(at, secs(15), 10);
    assert!(sweep(end.minus(secs(1))).await.unwrap().is_empty());
    let swept = sweep(end).await.unwrap();
    assert_eq!(
        (swept.len(), swept[0].open.sweeps, swept[0].row.in_doubt),
        (1, 1, true)
    );
    // Once per interval, however many processes sweep.
    assert!(sweep(end + secs(14)).await.unwrap().is_empty());
    assert_eq!(sweep(end + secs(15)).await.unwrap()[0].open.sweeps, 2);
    let open = t.store.open_attempts_of(claim.holder).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].open.sweeps, open[0].row.in_doubt), (2, true));
    // The holder comes back and closes.
    let close = closing(t, &claim, Ended::Unknown, Class::Transient);
    assert!(t.store.close_attempt(close).await.unwrap());
    assert!(sweep(end + secs(99)).await.unwrap().is_empty());
    assert!(
        t.store
            .open_attempts_of(claim.holder)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(t.open(&row).await, None);
}

/// Whoever takes the place of a silent holder names its attempt: of several one wins, and the one that is replaced can
/// end nothing any more.
async fn a_silent_holders_place_is_taken_once(t: &Fixture) {
    let (row, silent) = start(t).await;
    assert!(t.store.claim_grant(silent.clone()).await.unwrap());
    let end = t.open(&row).await.unwrap().lease_until;
    t.store.sweep_overdue(end, secs(15), 10).await.unwrap();
    let swept = t.grant(&row).await;
    assert_eq!((swept.rev, swept.in_doubt), (row.rev + 1, true));
    // Without its name, or as the row was before the sweep, nobody does.
    assert!(!t.store.claim_grant(t.claim(&swept)).await.unwrap());
    let named = |row: &GrantRow| GrantClaim {
        replaced: Some(silent.attempt),
        ..t.claim(row)
    };
    assert!(!t.store.claim_grant(named(&row)).await.unwrap());
    let claims: Vec<_> = (0..8).map(|_| named(&swept)).collect();
    let attempts: Vec<_> = claims.iter().map(|claim| claim.attempt).collect();
    let won = futures::future::join_all(claims.into_iter().map(|c| t.store.claim_grant(c))).await;
    let won: Vec<bool> = won.into_iter().map(Result::unwrap).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let open = t.open(&row).await.unwrap();
    let winner = attempts[won.iter().position(|won| *won).unwrap()];
    assert_eq!(
        (open.attempt, open.replaced, open.sweeps, open.swept_at),
        (winner, Some(silent.attempt), 0, None)
    );
    let late = closing(t, &silent, Ended::Refused, Class::Permanent);
    assert!(!t.store.close_attempt(late).await.unwrap());
    assert_eq!(t.open(&row).await.unwrap().attempt, winner);
    // Its late answer lands all the same, by version alone.
    let landed = t.store.land_grant(landing(t, &silent, 1)).await.unwrap();
    assert!(matches!(landed, Landed::Stored { version: 2, .. }));
    assert_eq!(t.open(&row).await, None);
}

/// Claims, landings, closings and sweeps of one grant at once, from two processes, in many rounds: an attempt is never
/// open on a grant that moved on, and of those who claim one generation in one state only one wins.
async fn ends_and_claims_that_meet_leave_one_truth(t: &Fixture) {
    let clock = std::sync::Arc::clone(&t.clock) as std::sync::Arc<dyn latchkey_domain::Clock>;
    let other = Store::open(StoreConfig::new(t.url.clone(), clock))
        .await
        .unwrap();
    let (row, _) = start(t).await;
    for round in 0..40_u64 {
        let read = t.grant(&row).await;
        let first = t.claim(&read);
        assert!(t.store.claim_grant(first.clone()).await.unwrap(), "{round}");
        let end = t.open(&row).await.unwrap().lease_until;
        let land = landing(t, &first, read.version);
        let mut close = closing(t, &first, Ended::Refused, Class::Transient);
        close.version = read.version;
        // Each of them may come first.
        let (landed, closed, swept, second) = futures::join!(
            other.land_grant(land),
            t.store.close_attempt(close),
            other.sweep_overdue(end, secs(15), 10),
            t.store.claim_grant(t.claim(&read)),
        );
        assert!(matches!(landed.unwrap(), Landed::Stored { .. }), "{round}");
        let (_, _) = (closed.unwrap(), swept.unwrap());
        assert!(!second.unwrap(), "claimed as it was read before: {round}");
        let now = t.grant(&row).await;
        assert_eq!(
            (now.version, now.in_doubt),
            (read.version + 1, false),
            "{round}"
        );
        assert_eq!(t.open(&row).await, None, "{round}");
    }
    other.close().await;
}

async fn due_grants_come_most_urgent_first_and_fair(t: &Fixture) {
    let (big, small) = (t.partner().await, t.partner().await);
    for n in 0..12_u64 {
        let partner = if n < 10 { big } else { small };
        let account = t.account(partner, &format!("u{n}")).await;
        let mut new = t.new_connection(&account, t.id(latchkey_domain::AuthConfigId::new), "x");
        // The small partner's are the last to come due, and the first of each the most urgent.
        new.due_at = Some(t.now() + secs(100 + n));
        new.expires_at = Some(t.now() + secs(1000 + n));
        t.store.store_connection(&new).await.unwrap();
    }
    let start = t.now();
    assert_eq!(
        t.store.earliest_due().await.unwrap(),
        Some(start + secs(100))
    );
    assert_eq!(t.store.count_due(start + secs(104)).await.unwrap(), 5);
    let take = |at, limit| t.store.take_due_grants(at, secs(30), limit);
    assert!(take(start + secs(99), 10).await.unwrap().is_empty());

    let at = start + secs(200);
    let due = take(at, 4).await.unwrap();
    let of = |partner| due.iter().filter(|d| d.grant.partner_id == partner).count();
    assert_eq!((of(big), of(small)), (2, 2));
    assert!(due.is_sorted_by_key(|d| d.expires_at));
    assert_eq!(
        (due[0].due_at, due[1].due_at),
        (start + secs(100), start + secs(101))
    );
    // The pass keeps them from being sent twice, and blocks no claim.
    let rest = take(at, 100).await.unwrap();
    assert_eq!(rest.len(), 8);
    assert!(take(at, 100).await.unwrap().is_empty());
    let row = t
        .store
        .load_grant(rest[0].grant)
        .await
        .unwrap()
        .unwrap()
        .row;
    let claim = GrantClaim {
        lease: secs(1000),
        ..t.claim(&row)
    };
    assert!(t.store.claim_grant(claim).await.unwrap());
    // What becomes due meanwhile lies ahead.
    let account = t.account(small, "late").await;
    let mut new = t.new_connection(&account, t.id(latchkey_domain::AuthConfigId::new), "x");
    new.due_at = Some(at + secs(1));
    t.store.store_connection(&new).await.unwrap();
    assert_eq!(take(at + secs(1), 100).await.unwrap().len(), 1);
    // When the pass is old, what is still due comes again, but for what is under way.
    assert_eq!(take(at + secs(30), 100).await.unwrap().len(), 12);
    assert!(take(at + secs(30), 100).await.unwrap().is_empty());
    // A lost queue begins it again at once.
    assert!(
        t.store
            .note_queue_epoch("b", at + secs(31))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(take(at + secs(31), 100).await.unwrap().len(), 12);

    // A decision of `Later` moves the next look, if the row is as it was read.
    let row = t
        .store
        .load_grant(rest[1].grant)
        .await
        .unwrap()
        .unwrap()
        .row;
    let later = at + secs(500);
    assert!(
        !t.store
            .postpone_grant(row.key(), row.rev + 1, later)
            .await
            .unwrap()
    );
    assert!(
        t.store
            .postpone_grant(row.key(), row.rev, later)
            .await
            .unwrap()
    );
    assert_eq!(take(at + secs(62), 100).await.unwrap().len(), 11);
}

/// Those over a budget get times of their own, as far as nobody else gave them some since.
async fn what_is_over_a_budget_is_put_off(t: &Fixture) {
    let partner = t.partner().await;
    for n in 0..2 {
        t.connect(partner, &format!("u{n}")).await;
    }
    let at = t.now() + secs(4000);
    let over = t.store.take_due_grants(at, secs(30), 100).await.unwrap();
    let (moved, kept) = (over[0].clone(), over[1].clone());
    let key = kept.grant;
    let wake = async |key| t.store.load_grant(key).await.unwrap().unwrap().row.wake_at;
    let row = t.store.load_grant(key).await.unwrap().unwrap().row;
    let (soon, late) = (at + secs(100), at + secs(900));
    assert!(t.store.postpone_grant(key, row.rev, late).await.unwrap());
    let later = [(moved.clone(), soon), (kept, soon)];
    t.store.put_off_grants(&later).await.unwrap();
    assert_eq!(wake(moved.grant).await, Some(soon));
    assert_eq!(wake(key).await, Some(late));
}

async fn a_repaired_auth_config_wakes_its_grants(t: &Fixture) {
    let (row, claim) = start(t).await;
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    let mut close = closing(t, &claim, Ended::Refused, Class::Operator);
    close.retry_at = Some(t.now() + secs(900));
    close.due_at = close.retry_at;
    assert!(t.store.close_attempt(close).await.unwrap());
    assert_eq!(
        t.store
            .wake_grants_of(row.auth_config_id, t.now())
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        t.store
            .wake_grants_of(row.auth_config_id, t.now())
            .await
            .unwrap(),
        0
    );
    let woken = t.grant(&row).await;
    assert_eq!((woken.retry_at, woken.wake_at), (None, Some(t.now())));
}

mod every_engine {
    super::super::on_every_engine!(
        of_claims_made_at_once_one_wins,
        two_processes_never_share_a_grant,
        an_answer_lands_by_version_alone,
        a_landing_ends_whatever_attempt_is_open,
        closing_matches_version_and_attempt,
        sweeps_show_doubt_and_count,
        a_silent_holders_place_is_taken_once,
        ends_and_claims_that_meet_leave_one_truth,
        due_grants_come_most_urgent_first_and_fair,
        what_is_over_a_budget_is_put_off,
        a_repaired_auth_config_wakes_its_grants,
    );
}
