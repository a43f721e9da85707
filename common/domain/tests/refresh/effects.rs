//! What each move does.

use std::time::Duration;

use latchkey_domain::{
    refresh::{ClaimDecision, Class, Closing, Ended},
    states::GrantState,
};

use crate::{
    Protocol,
    world::{
        DELAY, Entry, GRACE, Harm, Kind, LEASE, Mode, Move, NEW_ATTEMPT, NOW, Outcome, Phase,
        QUIET, Request, Step, TIMEOUT, World, ticks, timings,
    },
};

impl Protocol {
    /// Makes a move that is possible.
    pub(crate) fn apply(&self, world: &mut World, action: Move) {
        match action {
            Move::Tick => *world = self.ticked(world),
            Move::TokenEnds => world.row.token_lives = false,
            Move::Revoke => {
                let version = world.row.version;
                world.row.revoked = Some(version);
                if version == world.provider.newest || !self.kind.rotates() {
                    (world.provider.dead, world.provider.grace) = (true, 0);
                }
            }
            Move::StoreBack => world.row.up = true,
            Move::Handle(at) => self.handle(world, at),
            Move::Deliver(at) => {
                let request = world.requests.remove(at);
                if let (Phase::Answered(outcome), Some(listener)) =
                    (request.phase, request.listener)
                {
                    world.processes[listener].step = Self::heard(outcome);
                }
            }
            Move::Replay(at, entry) => self.replay(world, at, entry),
            Move::Recover(at) => {
                world.processes[at].recovering = false;
                if world.row.open.is_some_and(|(_, holder)| holder == at) {
                    let doubt = world.row.in_doubt;
                    let closing = (self.decisions.close)(Ended::Unknown, Class::Transient, doubt);
                    close(world, closing);
                }
            }
            Move::Claim(at) => self.claim(world, at),
            Move::GiveUp => world.row.state = GrantState::NeedsReauth,
            Move::Check(at) => {
                let process = &mut world.processes[at];
                if let Step::Claimed(ago) = process.step {
                    let timings = timings(self.patience);
                    let may = (self.decisions.may_send)(Duration::ZERO, ticks(ago), &timings);
                    process.step = if may { Step::Checked } else { Step::Unsent };
                }
            }
            Move::Send(at) => self.send(world, at),
            Move::TimeOut(at) => {
                world.processes[at].step = Step::TimedOut;
                stop_listening(world, at);
            }
            Move::Keep(at) => {
                let process = &mut world.processes[at];
                if let Step::Got(successor) = process.step {
                    let generation = process.generation;
                    process.journal.push(Entry {
                        generation,
                        successor,
                    });
                    world.newest_kept = world.newest_kept.max(Some(successor));
                }
                process.idle();
            }
            Move::Close(at) => self.close(world, at),
            Move::Restart(at) => {
                let process = &mut world.processes[at];
                (process.mode, process.recovering) = (Mode::Runs, true);
            }
            Move::Resume(at) => world.processes[at].mode = Mode::Runs,
            fault => {
                world.faults_left -= 1;
                strike(world, fault);
            }
        }
    }

    /// The world a tick later.
    pub(crate) fn ticked(&self, world: &World) -> World {
        let mut next = world.clone();
        let patience = timings(self.patience).patience(&self.kind.rules());
        let row = &mut next.row;
        if row.open.is_some() {
            if row.lease > 0 {
                row.lease -= 1;
            } else if row.up {
                // The sweeper's round: it shows the doubt and counts.
                row.in_doubt = true;
                let counts = if patience == u32::MAX { 1 } else { patience };
                row.sweeps = row
                    .sweeps
                    .saturating_add(1)
                    .min(u8::try_from(counts).unwrap_or(u8::MAX));
            }
        }
        row.closed_ago = row.closed_ago.map(|ago| (ago + 1).min(TIMEOUT + QUIET));
        row.claimed_ago = row.claimed_ago.map(|ago| (ago + 1).min(GRACE));
        next.provider.grace = next.provider.grace.saturating_sub(1);
        for process in &mut next.processes {
            process.step = match process.step {
                Step::Claimed(ago) => Step::Claimed((ago + 1).min(LEASE)),
                Step::Sent(left) => Step::Sent(left.saturating_sub(1)),
                other => other,
            };
        }
        for request in &mut next.requests {
            if let Phase::Working(left) = request.phase {
                request.phase = Phase::Working(left.saturating_sub(1));
            }
        }
        next
    }

    fn claim(&self, world: &mut World, at: usize) {
        let ClaimDecision::Claim {
            doubt,
            first_claim_at,
        } = self.decide(world)
        else {
            return;
        };
        let patience = timings(self.patience).patience(&self.kind.rules());
        world.gave_up_waiting |=
            world.row.open.is_some() && u32::from(world.row.sweeps) >= patience;
        let ago = u8::try_from(NOW.since(first_claim_at).as_secs()).unwrap_or(GRACE);
        let row = &mut world.row;
        (row.open, row.lease, row.sweeps) = (Some((NEW_ATTEMPT, at)), LEASE, 0);
        (row.in_doubt, row.claimed_ago) = (doubt, Some(ago));
        let generation = row.version;
        let process = &mut world.processes[at];
        process.step = Step::Claimed(0);
        (process.generation, process.doubt, process.attempt) = (generation, doubt, NEW_ATTEMPT);
    }

    /// The provider acts on a request.
    fn handle(&self, world: &mut World, at: usize) {
        let request = world.requests.remove(at);
        let (provider, generation) = (&mut world.provider, request.generation);
        let in_grace = self.kind == Kind::Grace && provider.grace > 0;
        let outcome = if provider.dead {
            Outcome::InvalidGrant
        } else if !self.kind.rotates() {
            provider.newest = provider.newest.max(generation + 1);
            Outcome::Successor(generation + 1)
        } else if generation == provider.newest {
            provider.newest += 1;
            provider.grace = if self.kind == Kind::Grace { GRACE } else { 0 };
            Outcome::Successor(provider.newest)
        } else if generation + 1 == provider.newest && in_grace {
            Outcome::Successor(provider.newest)
        } else {
            (provider.dead, provider.grace) = (true, 0);
            let row = &world.row;
            if row.token_lives && row.state == GrantState::Active && !world.gave_up_waiting {
                world.broken = Some(Harm::Alarm);
            }
            Outcome::InvalidGrant
        };
        if request.listener.is_some() {
            world.requests.push(Request {
                phase: Phase::Answered(outcome),
                ..request
            });
        }
    }

    fn replay(&self, world: &mut World, at: usize, entry: usize) {
        let entry = world.processes[at].journal.remove(entry);
        let row = &mut world.row;
        if !(self.decisions.lands)(row.version.into(), entry.generation.into()) {
            return;
        }
        row.version = entry.successor;
        (row.in_doubt, row.token_lives) = (false, true);
        (row.open, row.lease, row.sweeps) = (None, 0, 0);
        (row.closed_ago, row.claimed_ago) = (None, None);
        if row.state != GrantState::Revoking {
            row.state = GrantState::Active;
        }
    }

    fn close(&self, world: &mut World, at: usize) {
        let process = &mut world.processes[at];
        let (ended, class) = match process.step {
            Step::Unsent => (Ended::NotSent, Class::RateLimited(NOW)),
            Step::Refused => (Ended::Refused, Class::Permanent),
            _ => (Ended::Unknown, Class::Transient),
        };
        let closing = (self.decisions.close)(ended, class, process.doubt);
        let is_mine = world.row.open == Some((process.attempt, at))
            && world.row.version == process.generation;
        process.idle();
        if is_mine {
            close(world, closing);
        }
    }

    /// Bytes leave: the moment at which presentations may overlap.
    fn send(&self, world: &mut World, at: usize) {
        let process = &world.processes[at];
        let (attempt, generation) = (process.attempt, process.generation);
        if !world.gave_up_waiting {
            world.broken = overlap(world, at, self.kind);
        }
        world.processes[at].step = Step::Sent(TIMEOUT);
        world.requests.push(Request {
            attempt,
            generation,
            phase: Phase::Working(DELAY),
            listener: Some(at),
        });
    }
}

/// What the conditional write of a closing does to the row.
fn close(world: &mut World, closing: Closing) {
    let row = &mut world.row;
    (row.open, row.lease, row.sweeps) = (None, 0, 0);
    row.in_doubt = closing.in_doubt;
    row.closed_ago = match (closing.closed_in_doubt, closing.in_doubt) {
        (true, _) => Some(0),
        (false, true) => row.closed_ago,
        (false, false) => None,
    };
    row.claimed_ago = row.claimed_ago.filter(|_| closing.in_doubt);
    if closing.dead.is_some() && row.state == GrantState::Active {
        row.state = GrantState::NeedsReauth;
    }
}

fn overlap(world: &World, at: usize, kind: Kind) -> Option<Harm> {
    let (attempt, generation) = (world.processes[at].attempt, world.processes[at].generation);
    if world.row.version > generation && kind.rotates() {
        return Some(Harm::Stale);
    }
    if kind == Kind::Wide && world.provider.newest > generation {
        return Some(Harm::WideAlarm);
    }
    let lives = |at: usize| world.processes[at].mode != Mode::Killed;
    for request in &world.requests {
        if request.generation != generation || request.attempt == attempt {
            continue;
        }
        match request.phase {
            Phase::Working(_) => return Some(Harm::Overlap),
            Phase::Answered(Outcome::Successor(_)) if request.listener.is_some_and(lives) => {
                return Some(Harm::Overlap);
            }
            Phase::Answered(_) => {}
        }
    }
    for (other, process) in world.processes.iter().enumerate() {
        let got = matches!(process.step, Step::Got(_)) && process.generation == generation;
        if other != at && lives(other) && got {
            return Some(Harm::Overlap);
        }
        if process
            .journal
            .iter()
            .any(|entry| entry.generation == generation)
        {
            return Some(Harm::Overlap);
        }
    }
    None
}

/// What goes wrong.
fn strike(world: &mut World, fault: Move) {
    match fault {
        Move::Kill(at) => {
            stop_listening(world, at);
            let process = &mut world.processes[at];
            process.idle();
            (process.mode, process.recovering) = (Mode::Killed, false);
        }
        Move::Stop(at) => world.processes[at].mode = Mode::Stopped,
        Move::LoseRequest(at) | Move::DropAnswer(at) => {
            let request = world.requests.remove(at);
            give_up(world, request.listener);
        }
        Move::Cut(at) => {
            let listener = world.requests[at].listener.take();
            give_up(world, listener);
        }
        Move::Gateway(at) => {
            let request = world.requests[at];
            world.requests[at].listener = None;
            world.requests.push(Request {
                phase: Phase::Answered(Outcome::ServerError),
                ..request
            });
        }
        Move::StoreAway => world.row.up = false,
        Move::Delete => world.row.state = GrantState::Revoking,
        _ => {}
    }
}

/// The connection of whoever waits is cut.
fn give_up(world: &mut World, listener: Option<usize>) {
    if let Some(listener) = listener {
        world.processes[listener].step = Step::TimedOut;
    }
}

/// Nobody hears an answer any more; what the provider has not acted on, it still may.
fn stop_listening(world: &mut World, at: usize) {
    let heard = |request: &Request| request.listener == Some(at);
    world
        .requests
        .retain(|request| !(heard(request) && matches!(request.phase, Phase::Answered(_))));
    for request in &mut world.requests {
        if request.listener == Some(at) {
            request.listener = None;
        }
    }
}
