//! The refresh decisions under a model checker: every order of steps, kills, pauses, lost answers and
//! deletions of a few processes around one grant, within bounds. What the processes decide is decided by the
//! functions of `latchkey_domain::refresh` themselves ([`Decisions::PRODUCTION`]); the other tables leave one
//! clause out each, and must break.
//!
//! Time goes in ticks seen by all. A process that is not stopped takes its steps in no time: slowness is a
//! pause. The bounds are small, because so are the counter-examples: each clause of the protocol stands on a
//! trace of at most two faults.

mod decisions;
mod effects;
mod moves;
mod rest;
mod world;

use decisions::Decisions;
use stateright::{Checker, HasDiscoveries, Model, Property};
use world::{Harm, Kind, Move, World};

const NO_OVERLAP: &str = "no presentation overlaps another";
const NOT_STALE: &str = "nothing is presented that the store has left behind";
const NO_ALARM: &str = "no reuse alarm kills a grant whose access token lives";
const NO_WIDE_ALARM: &str = "nothing spent is presented where the alarm reaches other grants";
const FORWARDS: &str = "versions only grow";
/// Where nothing more must happen, the grant is alive, or says why not.
const SETTLED: &str = "what comes to rest is sound";
/// The bounds let a refresh succeed: without that the others would say nothing.
const REFRESHED: &str = "a refresh lands";
/// And let a grant be lost honestly.
const TOLD: &str = "a lost answer ends as needs_reauth";

/// The protocol around one grant.
#[derive(Clone, Copy, Debug)]
struct Protocol {
    kind: Kind,
    decisions: Decisions,
    processes: usize,
    faults: u8,
    /// Sweeps after which a silent holder counts as gone; none: it is awaited for good.
    patience: Option<u32>,
    /// The generation that processes want to reach.
    wanted: u8,
    /// Whether a process may be stopped between its last check and the sending. Beyond a declared grace or
    /// the patience that is the residual which no client can close.
    stops_before_sending: bool,
}

impl Protocol {
    fn of(kind: Kind, processes: usize, faults: u8) -> Self {
        Self {
            kind,
            decisions: Decisions::PRODUCTION,
            processes,
            faults,
            patience: None,
            wanted: 1,
            stops_before_sending: kind != Kind::Grace,
        }
    }

    fn with_patience(self, sweeps: u32) -> Self {
        Self {
            patience: Some(sweeps),
            ..self
        }
    }

    fn wanting(self, wanted: u8) -> Self {
        Self { wanted, ..self }
    }

    fn with(self, decisions: Decisions) -> Self {
        Self { decisions, ..self }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.processes, self.faults)]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        if world.broken.is_none() {
            self.moves(world, moves);
        }
    }

    fn next_state(&self, world: &World, action: Move) -> Option<World> {
        let mut next = world.clone();
        self.apply(&mut next, action);
        if next.row.version < world.row.version {
            next.broken = Some(Harm::Backwards);
        }
        Some(next.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_OVERLAP, |_, world: &World| {
                world.broken != Some(Harm::Overlap)
            }),
            Property::always(NOT_STALE, |_, world: &World| {
                world.broken != Some(Harm::Stale)
            }),
            Property::always(NO_ALARM, |_, world: &World| {
                world.broken != Some(Harm::Alarm)
            }),
            Property::always(NO_WIDE_ALARM, |_, world: &World| {
                world.broken != Some(Harm::WideAlarm)
            }),
            Property::always(FORWARDS, |_, world: &World| {
                world.broken != Some(Harm::Backwards)
            }),
            Property::always(SETTLED, |model: &Self, world: &World| {
                model.at_rest(world).is_none()
            }),
            Property::sometimes(REFRESHED, |_, world: &World| world.row.version > 0),
            Property::sometimes(TOLD, |model: &Self, world: &World| {
                world.is_needs_reauth() || !model.kind.rotates()
            }),
        ]
    }
}

/// Explores everything within the bounds and holds that nothing breaks.
fn holds(model: Protocol) {
    let (kind, patience) = (model.kind, model.patience);
    let checker = model.checker().spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    let states = checker.unique_state_count();
    assert!(states > 900, "{kind:?} {patience:?}: only {states} states");
}

/// Holds that a table without a clause breaks this.
fn breaks(model: Protocol, property: &'static str) {
    let explored = model
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let trace = explored.discovery(property);
    assert!(trace.is_some(), "nothing broke in {model:?}");
}

#[test]
fn three_processes_and_two_faults_around_a_provider_that_rotates() {
    holds(Protocol::of(Kind::Strict, 3, 2));
}

#[test]
fn three_faults_around_a_provider_that_rotates() {
    holds(Protocol::of(Kind::Strict, 2, 3));
}

#[test]
fn a_silent_holder_is_given_up_after_the_patience() {
    holds(Protocol::of(Kind::Strict, 2, 2).with_patience(3));
}

#[test]
fn a_declared_grace_is_used_and_not_overdrawn() {
    holds(Protocol::of(Kind::Grace, 2, 2).with_patience(4));
}

#[test]
fn a_provider_that_does_not_rotate() {
    holds(Protocol::of(Kind::Steady, 2, 2).with_patience(2));
}

#[test]
fn where_an_alarm_reaches_other_grants_nothing_is_presented_twice() {
    holds(Protocol::of(Kind::Wide, 2, 2));
}

#[test]
fn it_breaks_if_a_lease_that_ran_out_is_free() {
    breaks(
        Protocol::of(Kind::Strict, 2, 2).with(Decisions::LEASE_OVER_IS_FREE),
        NO_OVERLAP,
    );
}

#[test]
fn it_breaks_if_an_old_claim_is_still_sent() {
    // Its grace is over by then.
    breaks(
        Protocol::of(Kind::Grace, 2, 1).with(Decisions::SENT_WHENEVER),
        NO_ALARM,
    );
}

#[test]
fn it_breaks_if_a_lost_answer_leaves_no_doubt() {
    breaks(
        Protocol::of(Kind::Strict, 2, 1).with(Decisions::NO_DOUBT),
        NO_OVERLAP,
    );
}

#[test]
fn it_breaks_without_the_quiet_time() {
    breaks(
        Protocol::of(Kind::Strict, 2, 1).with(Decisions::NO_QUIET_TIME),
        NO_OVERLAP,
    );
}

#[test]
fn it_breaks_if_doubt_is_tried_out_without_need() {
    breaks(
        Protocol::of(Kind::Strict, 2, 1).with(Decisions::NO_NEED),
        NO_ALARM,
    );
}

#[test]
fn it_breaks_if_answers_land_whatever_their_version() {
    breaks(
        Protocol::of(Kind::Grace, 2, 1)
            .with_patience(4)
            .wanting(2)
            .with(Decisions::LANDS_ALWAYS),
        FORWARDS,
    );
}
