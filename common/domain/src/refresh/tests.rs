//! Each clause of the protocol's decisions, by example.

use super::*;

const T0: Timestamp = Timestamp::from_secs(1_800_000_000);
fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn idle() -> GrantView {
    GrantView {
        state: GrantState::Active,
        version: 3,
        open: None,
        in_doubt: false,
        closed_at: None,
        first_claim_at: None,
        retry_at: None,
        failures: 0,
        expires_at: Some(T0 + secs(3600)),
    }
}

fn open(lease_until: Timestamp, sweeps: u32) -> GrantView {
    GrantView {
        open: Some(OpenAttempt {
            attempt: AttemptId::from_u128(1),
            holder: HolderId::from_u128(2),
            lease_until,
            sweeps,
        }),
        first_claim_at: Some(T0),
        ..idle()
    }
}

fn doubtful() -> GrantView {
    GrantView {
        in_doubt: true,
        closed_at: Some(T0),
        first_claim_at: Some(T0),
        ..idle()
    }
}

const NONE: RotationRules = RotationRules {
    rotates: false,
    grace: Duration::ZERO,
    reuse_beyond_grant: false,
};
const STRICT: RotationRules = RotationRules {
    rotates: true,
    grace: Duration::ZERO,
    reuse_beyond_grant: false,
};

fn decide(grant: &GrantView, rules: &RotationRules, at: Timestamp, need: Need) -> ClaimDecision {
    may_claim(grant, rules, &Timings::default(), at, need)
}

#[test]
fn an_open_attempt_is_free_only_after_closing_or_patience() {
    let t = Timings::default();
    assert_eq!(
        decide(&open(T0 + secs(40), 0), &STRICT, T0, Need::TokenDead),
        ClaimDecision::Busy(T0 + secs(40))
    );
    let late = T0 + secs(4000);
    for sweeps in [0, 39] {
        let grant = open(T0 + secs(40), sweeps);
        assert_eq!(
            decide(&grant, &STRICT, late, Need::TokenDead),
            ClaimDecision::Awaiting
        );
    }
    assert_eq!(
        decide(&open(T0 + secs(40), 40), &STRICT, late, Need::TokenDead),
        ClaimDecision::Claim {
            doubt: true,
            first_claim_at: T0
        }
    );
    let graceful = RotationRules {
        grace: secs(600),
        ..STRICT
    };
    assert_eq!(t.patience(&graceful), 32);
    assert_eq!(t.patience(&NONE), 40);
}

#[test]
fn doubt_settles_and_then_waits_for_need_unless_it_is_easy() {
    let settled = T0 + secs(60);
    assert_eq!(
        decide(&doubtful(), &NONE, T0 + secs(59), Need::TokenDead),
        ClaimDecision::Later(settled)
    );
    assert!(matches!(
        decide(&doubtful(), &NONE, settled, Need::Due),
        ClaimDecision::Claim { doubt: true, .. }
    ));
    // Rotating without grace: only when the access token is about to end, or is needed and dead.
    assert_eq!(
        decide(&doubtful(), &STRICT, settled, Need::Due),
        ClaimDecision::Later(T0 + secs(3540))
    );
    assert!(matches!(
        decide(&doubtful(), &STRICT, settled, Need::TokenDead),
        ClaimDecision::Claim { .. }
    ));
    assert!(matches!(
        decide(&doubtful(), &STRICT, T0 + secs(3540), Need::Due),
        ClaimDecision::Claim { .. }
    ));
    // With grace: at once while more than the reserve of 70 s remains, counted from the first claim.
    let graceful = RotationRules {
        grace: secs(600),
        ..STRICT
    };
    assert!(matches!(
        decide(&doubtful(), &graceful, T0 + secs(529), Need::Due),
        ClaimDecision::Claim { .. }
    ));
    assert!(matches!(
        decide(&doubtful(), &graceful, T0 + secs(530), Need::Due),
        ClaimDecision::Later(_)
    ));
    let wide = RotationRules {
        reuse_beyond_grant: true,
        ..STRICT
    };
    assert_eq!(
        decide(&doubtful(), &wide, settled, Need::TokenDead),
        ClaimDecision::Lost
    );
}

#[test]
fn cool_downs_and_dead_grants_are_left_alone() {
    let cooling = GrantView {
        retry_at: Some(T0 + secs(5)),
        ..idle()
    };
    assert_eq!(
        decide(&cooling, &NONE, T0, Need::Due),
        ClaimDecision::Later(T0 + secs(5))
    );
    let dead = GrantView {
        state: GrantState::NeedsReauth,
        ..idle()
    };
    assert_eq!(decide(&dead, &NONE, T0, Need::Due), ClaimDecision::Inactive);
    assert_eq!(
        decide(&idle(), &STRICT, T0, Need::Due),
        ClaimDecision::Claim {
            doubt: false,
            first_claim_at: T0
        }
    );
}

#[test]
fn a_claim_is_sent_within_lease_minus_timeout() {
    let t = Timings::default();
    assert!(may_send(secs(100), secs(110), &t));
    assert!(!may_send(
        secs(100),
        secs(110) + Duration::from_nanos(1),
        &t
    ));
    assert!(lands(4, 4) && !lands(5, 4));
}

#[test]
fn what_each_end_leaves_behind() {
    assert!(close(Ended::Unknown, Class::Transient, false).in_doubt);
    assert!(!close(Ended::NotSent, Class::Transient, false).in_doubt);
    assert!(close(Ended::NotSent, Class::Transient, true).in_doubt);
    assert!(close(Ended::Refused, Class::RateLimited(T0), true).in_doubt);
    assert!(!close(Ended::Refused, Class::Transient, false).in_doubt);
    let dead = |doubt| close(Ended::Refused, Class::Permanent, doubt).dead;
    assert_eq!(dead(false), Some(DeadReason::InvalidGrant));
    assert_eq!(dead(true), Some(DeadReason::RotationOutcomeUnknown));
    assert_eq!(close(Ended::Refused, Class::Operator, false).dead, None);
}

#[test]
fn what_goes_on_failing_cools_down() {
    let draw = Duration::from_millis(700);
    assert_eq!((wait_after(1, draw), wait_after(2, draw)), (draw, draw));
    assert_eq!(wait_after(3, draw), COOL_DOWN);
    assert_eq!(wait_after(9, secs(200)), secs(200));
    assert_eq!(cools_until(None, T0), None);
    assert_eq!(cools_until(Some(T0), T0), Some(T0 + COOL_DOWN));
    assert_eq!(cools_until(Some(T0), T0 + COOL_DOWN), None);
}

#[test]
fn refreshes_are_spread_over_the_window() {
    assert_eq!(window(secs(3600)), (secs(360), secs(720)));
    assert_eq!(window(secs(1800)), (secs(300), secs(600)));
    assert_eq!(
        window(secs(5)),
        (Duration::from_millis(2500), Duration::from_millis(3750))
    );
    let end = T0 + secs(3600);
    let mut leads: Vec<f64> = (0..2000_u128)
        .map(|n| {
            due_at(GrantId::from_u128(n), 1, T0, end)
                .until(end)
                .as_secs_f64()
        })
        .collect();
    leads.sort_by(f64::total_cmp);
    assert!(leads[0] >= 360.0 && leads[1999] <= 720.0);
    for (part, want) in [(500, 450.0), (1000, 540.0), (1500, 630.0)] {
        assert!((leads[part] - want).abs() < 12.0, "{part}: {}", leads[part]);
    }
    let id = GrantId::from_u128(1);
    assert_eq!(due_at(id, 1, T0, T0), T0 + MIN_WAIT);
    assert_eq!(due_at(id, 1, T0, T0 + MIN_WAIT), T0 + MIN_WAIT);
}
