//! What can happen next.

use latchkey_domain::{
    refresh::{ClaimDecision, Need},
    states::GrantState,
};

use crate::{
    Protocol,
    world::{Mode, Move, NOW, Outcome, Phase, Step, World, timings},
};

impl Protocol {
    /// Every move that is possible in a world.
    pub(crate) fn moves(&self, world: &World, moves: &mut Vec<Move>) {
        let row = &world.row;
        if !self.is_urgent(world) && self.ticked(world) != *world {
            moves.push(Move::Tick);
        }
        let wanted = row.version < self.wanted || world.provider.dead;
        if row.token_lives && row.state == GrantState::Active && wanted {
            moves.push(Move::TokenEnds);
        }
        if !row.up {
            moves.push(Move::StoreBack);
        } else if world.is_deleted() && row.revoked.is_none_or(|done| done < row.version) {
            moves.push(Move::Revoke);
        }
        for (at, request) in world.requests.iter().enumerate() {
            match (request.phase, request.listener) {
                (Phase::Working(_), listener) => {
                    moves.push(Move::Handle(at));
                    if listener.is_some() && world.faults_left > 0 {
                        moves.extend([Move::LoseRequest(at), Move::Cut(at), Move::Gateway(at)]);
                    }
                }
                (Phase::Answered(_), Some(listener)) => {
                    let process = &world.processes[listener];
                    let waits = matches!(process.step, Step::Sent(_));
                    if waits && process.mode == Mode::Runs {
                        moves.push(Move::Deliver(at));
                    }
                    if waits && world.faults_left > 0 {
                        moves.push(Move::DropAnswer(at));
                    }
                }
                (Phase::Answered(_), None) => {}
            }
        }
        for at in 0..world.processes.len() {
            self.moves_of(world, at, moves);
        }
        if row.up && world.faults_left > 0 {
            moves.push(Move::StoreAway);
            if !world.is_deleted() {
                moves.push(Move::Delete);
            }
        }
    }

    fn moves_of(&self, world: &World, at: usize, moves: &mut Vec<Move>) {
        let (process, up) = (&world.processes[at], world.row.up);
        if process.mode == Mode::Killed {
            moves.push(Move::Restart(at));
            return;
        }
        if world.faults_left > 0 {
            moves.push(Move::Kill(at));
        }
        if process.mode == Mode::Stopped {
            moves.push(Move::Resume(at));
            return;
        }
        let busy = process.step != Step::Idle || !process.journal.is_empty();
        let stops = self.stops_before_sending || process.step != Step::Checked;
        if world.faults_left > 0 && busy && stops {
            moves.push(Move::Stop(at));
        }
        if up {
            moves.extend((0..process.journal.len()).map(|entry| Move::Replay(at, entry)));
        }
        if process.recovering {
            if up && process.journal.is_empty() {
                moves.push(Move::Recover(at));
            }
            return;
        }
        match process.step {
            Step::Idle if up => self.begin(world, at, moves),
            Step::Claimed(_) => moves.push(Move::Check(at)),
            Step::Checked => moves.push(Move::Send(at)),
            Step::Sent(0) => moves.push(Move::TimeOut(at)),
            Step::Got(_) => moves.push(Move::Keep(at)),
            Step::TimedOut | Step::Refused | Step::ServerError | Step::Unsent if up => {
                moves.push(Move::Close(at));
            }
            _ => {}
        }
    }

    fn begin(&self, world: &World, at: usize, moves: &mut Vec<Move>) {
        let row = &world.row;
        let wanted = row.version < self.wanted || !row.token_lives;
        // A process lands what it holds before it claims.
        let holds = |entry: &crate::world::Entry| entry.generation == row.version;
        if !wanted || world.processes[at].journal.iter().any(holds) {
            return;
        }
        match self.decide(world) {
            ClaimDecision::Claim { .. } => moves.push(Move::Claim(at)),
            ClaimDecision::Lost => moves.push(Move::GiveUp),
            _ => {}
        }
    }

    /// May the grant be claimed, as its row is?
    pub(crate) fn decide(&self, world: &World) -> ClaimDecision {
        let need = if world.row.token_lives {
            Need::Due
        } else {
            Need::TokenDead
        };
        (self.decisions.may_claim)(
            &world.view(),
            &self.kind.rules(),
            &timings(self.patience),
            NOW,
            need,
        )
    }

    /// Whether something happens before time passes: steps of processes that run take none.
    fn is_urgent(&self, world: &World) -> bool {
        let late = |request: &crate::world::Request| request.phase == Phase::Working(0);
        if world.requests.iter().any(late) {
            return true;
        }
        let running = || world.processes.iter().filter(|p| p.mode == Mode::Runs);
        let at_once = |step: Step| {
            use Step::{Checked, Claimed, Got, Sent};
            matches!(step, Claimed(_) | Checked | Got(_) | Sent(0))
        };
        if running().any(|process| at_once(process.step)) {
            return true;
        }
        // The patience is minutes, a replay seconds.
        let soon = |step: Step| !matches!(step, Step::Idle | Step::Sent(_));
        self.patience.is_some()
            && world.row.up
            && running().any(|p| !p.journal.is_empty() || p.recovering || soon(p.step))
    }

    /// What an answer does to the one who waited for it.
    pub(crate) fn heard(outcome: Outcome) -> Step {
        match outcome {
            Outcome::Successor(successor) => Step::Got(successor),
            Outcome::InvalidGrant => Step::Refused,
            Outcome::ServerError => Step::ServerError,
        }
    }
}
