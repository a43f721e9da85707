//! What there is: one grant's row, its provider, requests under way, processes with their journals.

use std::time::Duration;

use latchkey_domain::{
    AttemptId, HolderId, Timestamp,
    refresh::{GrantView, OpenAttempt, RotationRules, Timings},
    states::GrantState,
};

/// Ticks of the protocol's times: request time-out, lease, the provider's delay, quiet, declared grace.
pub(crate) const TIMEOUT: u8 = 1;
pub(crate) const LEASE: u8 = 2;
pub(crate) const DELAY: u8 = 2;
pub(crate) const QUIET: u8 = 2;
pub(crate) const GRACE: u8 = 9;
/// An attempt that was just made; it gets its place in the order with the others.
pub(crate) const NEW_ATTEMPT: u8 = u8::MAX;
/// The time at which every decision is asked: the world keeps spans, so that equal worlds are equal.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn ticks(n: u8) -> Duration {
    Duration::from_secs(n.into())
}

/// The protocol's times in ticks.
pub(crate) fn timings(patience: Option<u32>) -> Timings {
    Timings {
        timeout: ticks(TIMEOUT),
        lease: ticks(LEASE),
        provider_delay: ticks(DELAY),
        quiet: ticks(QUIET),
        sweep: ticks(1),
        patience_sweeps: patience.unwrap_or(u32::MAX),
        ending: Duration::ZERO,
    }
}

/// What the provider does with refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rotates; a spent one kills the grant.
    Strict,
    /// Rotates; for the grace, a spent one gives the same successor.
    Grace,
    /// Does not rotate.
    Steady,
    /// Rotates; a spent one kills other grants too.
    Wide,
}

impl Kind {
    pub(crate) fn rotates(self) -> bool {
        self != Self::Steady
    }

    pub(crate) fn rules(self) -> RotationRules {
        RotationRules {
            rotates: self.rotates(),
            grace: ticks(if self == Self::Grace { GRACE } else { 0 }),
            reuse_beyond_grant: self == Self::Wide,
        }
    }
}

/// One step of anybody; numbers are places in the lists of [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Time passes.
    Tick,
    /// The access token is about to end.
    TokenEnds,
    /// The revocation of a deleted connection reaches the provider.
    Revoke,
    /// The store answers again.
    StoreBack,
    /// The provider acts on a request.
    Handle(usize),
    /// An answer arrives.
    Deliver(usize),
    /// A journal's entry reaches the store, or is behind it.
    Replay(usize, usize),
    /// After a restart and its replay: the old attempt is closed.
    Recover(usize),
    Claim(usize),
    /// No second presentation is allowed.
    GiveUp,
    /// The last look before the sending.
    Check(usize),
    Send(usize),
    TimeOut(usize),
    /// The answer goes into the journal.
    Keep(usize),
    Close(usize),
    /// May happen: a killed process begins anew, a stopped one goes on.
    Restart(usize),
    Resume(usize),
    /// Faults: kill -9, SIGSTOP, a request that never arrives, a connection cut while the provider has the
    /// request, a gateway that answers for a provider still at work, an answer that is dropped, the store
    /// away, the connection deleted.
    Kill(usize),
    Stop(usize),
    LoseRequest(usize),
    Cut(usize),
    Gateway(usize),
    DropAnswer(usize),
    StoreAway,
    Delete,
}

impl Move {
    /// Whether it happens sooner or later if nothing else does.
    pub(crate) fn must_happen(self) -> bool {
        !matches!(
            self,
            Self::Restart(_)
                | Self::Resume(_)
                | Self::Kill(_)
                | Self::Stop(_)
                | Self::LoseRequest(_)
                | Self::Cut(_)
                | Self::Gateway(_)
                | Self::DropAnswer(_)
                | Self::StoreAway
                | Self::Delete
        )
    }
}

/// The grant's narrow row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    /// Whether the store answers.
    pub(crate) up: bool,
    pub(crate) state: GrantState,
    pub(crate) version: u8,
    pub(crate) in_doubt: bool,
    /// The open attempt and its holder.
    pub(crate) open: Option<(u8, usize)>,
    pub(crate) lease: u8,
    pub(crate) sweeps: u8,
    pub(crate) closed_ago: Option<u8>,
    pub(crate) claimed_ago: Option<u8>,
    pub(crate) token_lives: bool,
    /// The version that the revocation of a deleted connection reached.
    pub(crate) revoked: Option<u8>,
}

/// The provider's side of the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Provider {
    /// The newest generation it issued.
    pub(crate) newest: u8,
    pub(crate) dead: bool,
    /// For how long the one before still works.
    pub(crate) grace: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Successor(u8),
    InvalidGrant,
    ServerError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The provider may act on it, within this many ticks.
    Working(u8),
    /// The answer is on its way.
    Answered(Outcome),
}

/// A presentation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) attempt: u8,
    pub(crate) generation: u8,
    pub(crate) phase: Phase,
    /// Who still hears the answer.
    pub(crate) listener: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mode {
    Runs,
    Stopped,
    Killed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    #[default]
    Idle,
    /// Claimed this long ago.
    Claimed(u8),
    /// Checked, about to send.
    Checked,
    /// Sent; times out after so many ticks.
    Sent(u8),
    /// Holds a successor in memory.
    Got(u8),
    /// Ended, to be closed.
    TimedOut,
    Refused,
    ServerError,
    Unsent,
}

/// A journalled successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) generation: u8,
    pub(crate) successor: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) mode: Mode,
    pub(crate) step: Step,
    pub(crate) generation: u8,
    /// The doubt that its claim carried on.
    pub(crate) doubt: bool,
    pub(crate) journal: Vec<Entry>,
    /// Restarted, and not yet through with what it left.
    pub(crate) recovering: bool,
    pub(crate) attempt: u8,
}

impl Process {
    pub(crate) fn idle(&mut self) {
        (self.step, self.generation, self.doubt, self.attempt) = (Step::Idle, 0, false, 0);
    }
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Harm {
    /// A generation was presented while an earlier presentation of it may still be worked on or answered, or
    /// while its successor is in a journal or in another's memory.
    Overlap,
    /// One was presented that the store had left behind.
    Stale,
    /// The reuse alarm killed a grant whose access token lived.
    Alarm,
    /// A spent token was presented where the alarm reaches other grants.
    WideAlarm,
    /// A version went back.
    Backwards,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) row: Row,
    pub(crate) provider: Provider,
    pub(crate) requests: Vec<Request>,
    pub(crate) processes: Vec<Process>,
    pub(crate) faults_left: u8,
    /// A holder was given up after the patience: what it does when it returns after all is not promised.
    pub(crate) gave_up_waiting: bool,
    /// The newest successor that ever reached a journal.
    pub(crate) newest_kept: Option<u8>,
    /// What went wrong on the way here.
    pub(crate) broken: Option<Harm>,
}

impl World {
    pub(crate) fn new(processes: usize, faults: u8) -> Self {
        let process = Process {
            mode: Mode::Runs,
            step: Step::Idle,
            generation: 0,
            doubt: false,
            journal: Vec::new(),
            recovering: false,
            attempt: 0,
        };
        Self {
            row: Row {
                up: true,
                state: GrantState::Active,
                version: 0,
                in_doubt: false,
                open: None,
                lease: 0,
                sweeps: 0,
                closed_ago: None,
                claimed_ago: None,
                token_lives: true,
                revoked: None,
            },
            provider: Provider::default(),
            requests: Vec::new(),
            processes: vec![process; processes],
            faults_left: faults,
            gave_up_waiting: false,
            newest_kept: None,
            broken: None,
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.row.state == GrantState::Revoking
    }

    pub(crate) fn is_needs_reauth(&self) -> bool {
        self.row.state == GrantState::NeedsReauth
    }

    /// The row as the decisions see it at [`NOW`].
    pub(crate) fn view(&self) -> GrantView {
        let row = &self.row;
        let ago = |span: Option<u8>| span.map(|n| NOW.minus(ticks(n)));
        GrantView {
            state: row.state,
            version: row.version.into(),
            open: row.open.map(|(attempt, holder)| OpenAttempt {
                attempt: AttemptId::from_u128(attempt.into()),
                holder: HolderId::from_u128(holder as u128),
                lease_until: NOW + ticks(row.lease),
                sweeps: row.sweeps.into(),
            }),
            in_doubt: row.in_doubt,
            closed_at: ago(row.closed_ago),
            first_claim_at: ago(row.claimed_ago),
            retry_at: None,
            failures: 0,
            expires_at: Some(if row.token_lives {
                NOW + Duration::from_secs(1000)
            } else {
                NOW
            }),
        }
    }

    /// The same world with its processes in order and its attempts numbered by appearance: worlds that
    /// differ in names alone are one.
    pub(crate) fn canonical(mut self) -> Self {
        let mut order: Vec<usize> = (0..self.processes.len()).collect();
        let owner = self.row.open.map(|(_, holder)| holder);
        order.sort_by_key(|at| {
            let process = &self.processes[*at];
            let mine = self.row.open == Some((process.attempt, *at));
            let mut heard: Vec<_> = self
                .requests
                .iter()
                .filter(|request| request.listener == Some(*at))
                .map(|request| (request.generation, request.phase))
                .collect();
            heard.sort_unstable();
            let nameless = Process {
                attempt: 0,
                ..process.clone()
            };
            (nameless, owner == Some(*at), mine, heard)
        });
        let place = |old: usize| order.iter().position(|at| *at == old).unwrap_or(old);
        self.processes = order.iter().map(|at| self.processes[*at].clone()).collect();
        self.row.open = self
            .row
            .open
            .map(|(attempt, holder)| (attempt, place(holder)));
        for request in &mut self.requests {
            request.listener = request.listener.map(place);
        }
        self.rename_attempts();
        self
    }

    fn rename_attempts(&mut self) {
        let mut seen = vec![0];
        let mut name = |attempt: u8| {
            let at = seen.iter().position(|known| *known == attempt);
            let at = at.unwrap_or_else(|| {
                seen.push(attempt);
                seen.len() - 1
            });
            u8::try_from(at).unwrap_or(u8::MAX)
        };
        self.row.open = self
            .row
            .open
            .map(|(attempt, holder)| (name(attempt), holder));
        for process in &mut self.processes {
            process.attempt = name(process.attempt);
            process.journal.sort_unstable();
        }
        for request in &mut self.requests {
            request.attempt = name(request.attempt);
        }
        self.requests.sort_unstable();
    }
}
