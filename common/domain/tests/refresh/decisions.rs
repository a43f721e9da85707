//! The decisions as a table: the production's, and tables that leave one clause out each.

use std::time::Duration;

use latchkey_domain::{
    Timestamp,
    refresh::{
        self, ClaimDecision, Class, Closing, Ended, GrantView, Need, RotationRules, Timings,
    },
};

/// What a process asks before each of its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decisions {
    pub(crate) may_claim:
        fn(&GrantView, &RotationRules, &Timings, Timestamp, Need) -> ClaimDecision,
    pub(crate) may_send: fn(Duration, Duration, &Timings) -> bool,
    pub(crate) lands: fn(i64, i64) -> bool,
    pub(crate) close: fn(Ended, Class, bool) -> Closing,
}

impl Decisions {
    /// What Latchkey does.
    pub(crate) const PRODUCTION: Self = Self {
        may_claim: refresh::may_claim,
        may_send: refresh::may_send,
        lands: refresh::lands,
        close: refresh::close,
    };

    /// Clause 1 without "a lease that ran out is not free".
    pub(crate) const LEASE_OVER_IS_FREE: Self = Self {
        may_claim: |grant, rules, timings, now, need| {
            let open = grant.open.filter(|open| open.lease_until > now);
            let grant = GrantView { open, ..*grant };
            refresh::may_claim(&grant, rules, timings, now, need)
        },
        ..Self::PRODUCTION
    };

    /// Clause 2 without its guard.
    pub(crate) const SENT_WHENEVER: Self = Self {
        may_send: |_, _, _| true,
        ..Self::PRODUCTION
    };

    /// Clause 4 without doubt: a time-out counts as a refusal that passes.
    pub(crate) const NO_DOUBT: Self = Self {
        close: |_, class, doubt| refresh::close(Ended::Refused, class, doubt),
        ..Self::PRODUCTION
    };

    /// Clause 5 without the time between closing and presenting again.
    pub(crate) const NO_QUIET_TIME: Self = Self {
        may_claim: |grant, rules, timings, now, need| {
            let grant = GrantView {
                closed_at: None,
                ..*grant
            };
            refresh::may_claim(&grant, rules, timings, now, need)
        },
        ..Self::PRODUCTION
    };

    /// Clause 5 without waiting for the access token to end.
    pub(crate) const NO_NEED: Self = Self {
        may_claim: |grant, rules, timings, now, _| {
            refresh::may_claim(grant, rules, timings, now, Need::TokenDead)
        },
        ..Self::PRODUCTION
    };

    /// Clause 3 without the version.
    pub(crate) const LANDS_ALWAYS: Self = Self {
        lands: |_, _| true,
        ..Self::PRODUCTION
    };
}
