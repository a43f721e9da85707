//! The decisions of the refresh protocol as pure functions: may this grant be claimed, may the claim be
//! sent, does this answer land, what does an end without an answer leave behind, and when is the next
//! refresh due. The store applies what these decide by conditional writes; the worker does the I/O.
//!
//! ```text
//!             claim (1)            send (2)              answer
//!   idle ───────────────▶ open ───────────────▶ sent ───────────────▶ journal (3) ─▶ landed: version + 1
//!    ▲                     │ too late             │ 4xx, or nothing sent
//!    │◀────────────────────┘                      ├──────────────────▶ closed, no doubt (6)
//!    │                                            │ time-out, cut connection, 5xx
//!    │     out of doubt (5)                       ▼
//!    └──────────────────────────────────── closed, in doubt (4)
//! ```
//!
//! A *generation* is the refresh token of one version. What kills grants is *overlap*: presenting a
//! generation while an earlier presentation of it may still be answered, or while one of our journals
//! holds its successor. Every clause below is there because a trace of the model broke without it.

use std::time::Duration;

use crate::{
    AttemptId, GrantId, HolderId, Timestamp, backoff::Backoff, entropy, states::GrantState,
};

/// The times of the protocol. The defaults are the promised ones; tests and the demo shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long one token request may take, from connecting to the last byte.
    pub timeout: Duration,
    /// How long a claim holds. `lease − timeout` is the time in which a claim may still be sent.
    pub lease: Duration,
    /// How long a provider may go on working on a request that we gave up.
    pub provider_delay: Duration,
    /// Kept beyond the time-out between closing in doubt and presenting again.
    pub quiet: Duration,
    /// How often the sweeper looks for leases that ran out.
    pub sweep: Duration,
    /// Sweeps for which a silent holder is waited for before its attempt counts as closed.
    pub patience_sweeps: u32,
    /// An access token with less than this to live is about to end.
    pub ending: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            lease: Duration::from_secs(40),
            provider_delay: Duration::from_secs(60),
            quiet: Duration::from_secs(30),
            sweep: Duration::from_secs(15),
            patience_sweeps: 40,
            ending: Duration::from_secs(60),
        }
    }
}

impl Timings {
    /// The time within which a claim may be sent.
    pub fn send_window(&self) -> Duration {
        self.lease.saturating_sub(self.timeout)
    }

    /// The grace that must remain for a second presentation: until it is sent, and the provider's delay.
    pub fn grace_reserve(&self) -> Duration {
        self.send_window() + self.provider_delay
    }

    /// The wait between closing in doubt and presenting again.
    pub fn quiet_time(&self) -> Duration {
        self.timeout + self.quiet
    }

    /// Sweeps after which a silent holder counts as gone: the patience, or fewer where the provider's
    /// grace would end before it.
    pub fn patience(&self, rules: &RotationRules) -> u32 {
        let spare = rules
            .grace
            .saturating_sub(self.grace_reserve() + self.lease);
        if !rules.rotates || spare.is_zero() {
            return self.patience_sweeps;
        }
        let sweeps = spare.as_millis() / self.sweep.as_millis().max(1);
        self.patience_sweeps
            .min(u32::try_from(sweeps).unwrap_or(u32::MAX))
            .max(1)
    }
}

/// What the catalogue says of a provider's refresh tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotationRules {
    /// Whether a refresh replaces the refresh token and the old one stops working.
    pub rotates: bool,
    /// How long the old one still gives the same successor; zero if the provider declares none.
    pub grace: Duration,
    /// Whether presenting a spent token kills more than this grant.
    pub reuse_beyond_grant: bool,
}

/// An attempt that was claimed and not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// Which attempt.
    pub attempt: AttemptId,
    /// Whose journal may hold its answer.
    pub holder: HolderId,
    /// Until when it is surely at work, by database time.
    pub lease_until: Timestamp,
    /// Sweeps that found it unclosed past its lease.
    pub sweeps: u32,
}

/// What the protocol knows of a grant: its narrow row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantView {
    /// Where the grant stands.
    pub state: GrantState,
    /// The generation it holds; grows by one with each landed answer.
    pub version: i64,
    /// The attempt under way, if one is.
    pub open: Option<OpenAttempt>,
    /// Whether this generation was presented and its answer is not known.
    pub in_doubt: bool,
    /// When the last attempt closed in doubt.
    pub closed_at: Option<Timestamp>,
    /// When this generation was first claimed: its grace counts from here.
    pub first_claim_at: Option<Timestamp>,
    /// The cool-down: no attempt before.
    pub retry_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// When the access token ends, if the provider said.
    pub expires_at: Option<Timestamp>,
}

/// Why a refresh is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is due.
    Due,
    /// Somebody waits with an access token that is dead.
    TokenDead,
}

/// Whether a grant may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Yes. `doubt` is what the claimed row carries on; `first_claim_at` likewise.
    Claim {
        /// The generation stays, or now counts as, in doubt.
        doubt: bool,
        /// From when the grace of this generation counts.
        first_claim_at: Timestamp,
    },
    /// Another attempt is at work at least until then; wait for its outcome.
    Busy(Timestamp),
    /// Not before then (cool-down, doubt that must settle, or a token that still lives).
    Later(Timestamp),
    /// Not until something else changes: an unclosed attempt whose holder is awaited.
    Awaiting,
    /// Never again with this generation: a second presentation would reach beyond the grant.
    Lost,
    /// The grant is not active.
    Inactive,
}

impl GrantView {
    /// Whether the access token still works at `now`. A token without a known end counts as alive.
    pub fn token_lives(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }

    fn token_ending(&self, now: Timestamp, timings: &Timings, need: Need) -> bool {
        need == Need::TokenDead
            || self
                .expires_at
                .is_some_and(|end| end <= now + timings.ending)
    }

    /// Whether presenting the generation again is harmless at once: the provider does not rotate, or
    /// enough of its grace remains.
    fn easy(&self, rules: &RotationRules, timings: &Timings, now: Timestamp) -> bool {
        let Some(first) = self.first_claim_at else {
            return !rules.rotates;
        };
        !rules.rotates || now + timings.grace_reserve() < first + rules.grace
    }
}

/// May this grant be claimed now (`architecture.md` §6, clauses 1, 4 and 5)?
pub fn may_claim(
    grant: &GrantView,
    rules: &RotationRules,
    timings: &Timings,
    now: Timestamp,
    need: Need,
) -> ClaimDecision {
    if grant.state != GrantState::Active {
        return ClaimDecision::Inactive;
    }
    if let Some(open) = grant.open {
        if open.lease_until > now {
            return ClaimDecision::Busy(open.lease_until);
        }
        // A lease that ran out is not free: only closing frees it, or the end of the patience.
        if open.sweeps < timings.patience(rules) {
            return ClaimDecision::Awaiting;
        }
    }
    if let Some(retry_at) = grant.retry_at.filter(|at| *at > now) {
        return ClaimDecision::Later(retry_at);
    }
    let doubt = grant.in_doubt || grant.open.is_some();
    if doubt {
        if rules.rotates && rules.reuse_beyond_grant {
            return if grant.token_ending(now, timings, need) {
                ClaimDecision::Lost
            } else {
                ClaimDecision::Later(ending_at(grant, timings, now))
            };
        }
        let settled = grant
            .closed_at
            .filter(|_| grant.open.is_none())
            .map(|at| at + timings.quiet_time());
        if let Some(settled) = settled.filter(|at| *at > now) {
            return ClaimDecision::Later(settled);
        }
        if !grant.easy(rules, timings, now) && !grant.token_ending(now, timings, need) {
            return ClaimDecision::Later(ending_at(grant, timings, now));
        }
    }
    let first_claim_at = grant.first_claim_at.filter(|_| doubt).unwrap_or(now);
    ClaimDecision::Claim {
        doubt,
        first_claim_at,
    }
}

fn ending_at(grant: &GrantView, timings: &Timings, now: Timestamp) -> Timestamp {
    // A token without an end is presented again only when somebody finds it dead.
    grant
        .expires_at
        .map_or(now + Duration::from_secs(24 * 3600), |end| {
            end.minus(timings.ending)
        })
}

/// The cool-down of a connection: after a refresh that did not mend the 401 it was made for, and between
/// attempts that go on failing. One broken grant must not cost a refresh per call.
pub const COOL_DOWN: Duration = Duration::from_secs(30);
/// Failures in a row from which [`COOL_DOWN`] is the shortest wait. Before, full jitter alone lets a blip heal
/// within seconds.
const COOLS_FROM: u32 = 3;

/// After a refusal of the token that a grant holds: until when no refresh is made for it. There is no wait
/// unless a token was refused that had just been fetched because of a refusal: new ones do not mend that.
pub fn cools_until(refused_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    refused_at.map(|at| at + COOL_DOWN).filter(|end| *end > now)
}

/// The wait after this many failures in a row, of which `jittered` is the draw.
pub fn wait_after(failures: u32, jittered: Duration) -> Duration {
    if failures >= COOLS_FROM {
        jittered.max(COOL_DOWN)
    } else {
        jittered
    }
}

/// May a claim begun at `begun` still be sent at `now` (both monotonic, suspend included; clause 2)?
pub fn may_send(begun: Duration, now: Duration, timings: &Timings) -> bool {
    now.saturating_sub(begun) <= timings.send_window()
}

/// Does an answer to `generation` land on a row at `version` (clause 3)? By version alone: also after its
/// lease, after another closed it, and over `needs_reauth`.
pub fn lands(version: i64, generation: i64) -> bool {
    version == generation
}

/// How an attempt ended without a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing left this process: refused by our own guard, or it failed before the first byte.
    NotSent,
    /// The provider answered with a 4xx, or an error in a 200: this presentation is over.
    Refused,
    /// A time-out, a cut connection, a 5xx, or a process that died: the outcome is not known.
    Unknown,
}

/// What the catalogue's rules make of a refusal (clause 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The grant is dead.
    Permanent,
    /// The auth config is broken; the grant is not.
    Operator,
    /// Not before this time.
    RateLimited(Timestamp),
    /// Try again after a back-off.
    Transient,
}

/// What closing an attempt writes, if version and attempt still match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Whether the generation is in doubt afterwards.
    pub in_doubt: bool,
    /// Set when this closing began or renewed the doubt.
    pub closed_in_doubt: bool,
    /// Whether the grant ends here, and why.
    pub dead: Option<DeadReason>,
    /// Whether a failure is counted and a back-off begins.
    pub counts_failure: bool,
}

/// Why a grant needs the end user again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// The provider said that the grant is gone.
    InvalidGrant,
    /// A generation was presented, its answer was lost, and the provider no longer takes it.
    RotationOutcomeUnknown,
}

impl DeadReason {
    /// The reason shown to partners.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::RotationOutcomeUnknown => "rotation_outcome_unknown",
        }
    }
}

/// What an end without a successor leaves behind (clauses 2, 4, 5 and 6). `was_in_doubt` is the doubt the
/// claim carried.
pub fn close(ended: Ended, class: Class, was_in_doubt: bool) -> Closing {
    match (ended, class) {
        (Ended::NotSent, class) => Closing {
            in_doubt: was_in_doubt,
            closed_in_doubt: false,
            dead: None,
            counts_failure: class == Class::Transient,
        },
        (Ended::Refused, Class::Permanent) => Closing {
            in_doubt: false,
            closed_in_doubt: false,
            dead: Some(if was_in_doubt {
                DeadReason::RotationOutcomeUnknown
            } else {
                DeadReason::InvalidGrant
            }),
            counts_failure: true,
        },
        // A refusal that says nothing of the token leaves an older doubt as it was.
        (Ended::Refused, _) => Closing {
            in_doubt: was_in_doubt,
            closed_in_doubt: was_in_doubt,
            dead: None,
            counts_failure: true,
        },
        (Ended::Unknown, _) => Closing {
            in_doubt: true,
            closed_in_doubt: true,
            dead: None,
            counts_failure: true,
        },
    }
}

/// The cool-down of a grant whose client the provider refused. Repairing the auth config ends it.
const OPERATOR_WAIT: Duration = Backoff::REFRESH.cap;

/// An end without a successor, for [`Closed::next`].
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    /// The grant as it was claimed.
    pub grant: &'a GrantView,
    /// From when the grace of its generation counts.
    pub first_claim_at: Timestamp,
    /// What [`close`] decided.
    pub closing: Closing,
    /// What the refusal meant.
    pub class: Class,
    /// The draw of [`Backoff::REFRESH`] for [`Closed::failures`].
    pub jittered: Duration,
}

impl Closed<'_> {
    /// Failures in a row from now on.
    pub fn failures(&self) -> u32 {
        self.grant.failures + u32::from(self.closing.counts_failure)
    }

    /// The cool-down that begins, and when the grant is due next; it is not if it is dead.
    pub fn next(
        &self,
        rules: &RotationRules,
        timings: &Timings,
        now: Timestamp,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let closing = self.closing;
        if closing.dead.is_some() {
            return (None, None);
        }
        let retry_at = match self.class {
            _ if !closing.counts_failure => None,
            Class::RateLimited(until) => Some(until),
            Class::Operator => Some(now + OPERATOR_WAIT),
            Class::Permanent | Class::Transient => {
                Some(now + wait_after(self.failures(), self.jittered))
            }
        };
        if !closing.in_doubt {
            return (retry_at, Some(retry_at.unwrap_or(now)));
        }
        let after = GrantView {
            open: None,
            in_doubt: true,
            closed_at: if closing.closed_in_doubt {
                Some(now)
            } else {
                self.grant.closed_at
            },
            first_claim_at: Some(self.first_claim_at),
            retry_at,
            failures: self.failures(),
            ..*self.grant
        };
        (retry_at, Some(due_in_doubt(&after, rules, timings, now)))
    }
}

/// When the next attempt at a grant in doubt can make sense, for the due index.
pub fn due_in_doubt(
    grant: &GrantView,
    rules: &RotationRules,
    timings: &Timings,
    now: Timestamp,
) -> Timestamp {
    let settled = grant.closed_at.unwrap_or(now) + timings.quiet_time();
    let easy = grant.easy(rules, timings, settled.max(now)) && !rules.reuse_beyond_grant;
    let at = if easy {
        settled
    } else {
        settled.max(ending_at(grant, timings, now))
    };
    grant.retry_at.map_or(at, |retry| at.max(retry))
}

/// The span before expiry in which refreshes are spread: from `margin` (10 % of the lifetime, at least
/// 5 min; half of a life under 10 min) to the smaller of twice the margin and 0.75 of the life (clause 9).
pub fn window(life: Duration) -> (Duration, Duration) {
    let margin = if life < Duration::from_secs(600) {
        life / 2
    } else {
        (life / 10).max(Duration::from_secs(300))
    };
    (margin, (margin * 2).min(life.mul_f64(0.75)).max(margin))
}

/// The shortest time from an answer to the next refresh: a provider whose tokens end as they are issued must
/// not keep us asking without a pause.
pub const MIN_WAIT: Duration = Duration::from_millis(250);

/// When a grant is due: seeded by its id, uniform over the window before expiry, and not before
/// [`MIN_WAIT`].
pub fn due_at(
    grant: GrantId,
    version: i64,
    issued_at: Timestamp,
    expires_at: Timestamp,
) -> Timestamp {
    let (margin, latest) = window(expires_at.since(issued_at));
    let bits = grant.as_u128();
    let seed = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
        ^ u64::try_from(bits >> 64).unwrap_or(0)
        ^ version.unsigned_abs().rotate_left(32);
    let lead = margin
        + latest
            .saturating_sub(margin)
            .mul_f64(entropy::unit(entropy::mix(seed)));
    expires_at.minus(lead).max(issued_at + MIN_WAIT)
}

#[cfg(test)]
mod tests;
