//! Where nothing more must happen: is what remains sound, if processes that are away never come back?

use latchkey_domain::states::GrantState;

use crate::{
    Protocol,
    world::{Mode, Move, World},
};

impl Protocol {
    /// What is wrong with a world at rest.
    pub(crate) fn at_rest(&self, world: &World) -> Option<&'static str> {
        let mut moves = Vec::new();
        if world.broken.is_none() {
            self.moves(world, &mut moves);
        }
        let everyone_is_away = world.processes.iter().all(|p| p.mode != Mode::Runs);
        if world.broken.is_some()
            || moves.iter().any(|next: &Move| next.must_happen())
            || everyone_is_away
        {
            return None;
        }
        let (row, provider) = (&world.row, &world.provider);
        let away = world.processes.iter().any(|p| p.mode != Mode::Runs);
        let entries = || world.processes.iter().flat_map(|p| &p.journal);
        let holds_newest = entries().any(|e| e.successor == provider.newest);
        let is_newest = row.version == provider.newest;
        match row.state {
            GrantState::Revoking => {
                let known = is_newest || world.newest_kept == Some(provider.newest);
                (!provider.dead && known && !(away && holds_newest))
                    .then_some("a living token that we knew of was never revoked")
            }
            GrantState::NeedsReauth => {
                let excused = world.gave_up_waiting && away;
                (!provider.dead && (is_newest || holds_newest) && !excused && self.may_revive())
                    .then_some("needs_reauth although it lives and we hold its newest generation")
            }
            _ if entries().any(|e| e.generation >= row.version) && !provider.dead && !away => {
                Some("a journalled successor cannot land")
            }
            // Without a patience, a holder that is away is awaited for good.
            _ if row.in_doubt || row.open.is_some() => {
                (self.patience.is_some() || !away).then_some("doubt that never ends")
            }
            _ if provider.dead => Some("silently dead: active, and dead at the provider"),
            _ if row.version >= self.wanted && is_newest => None,
            _ if !self.kind.rotates() && row.version >= self.wanted => None,
            _ => Some("stuck"),
        }
    }

    /// Where the alarm reaches other grants, one in doubt is given up although it may live.
    fn may_revive(&self) -> bool {
        !self.kind.rules().reuse_beyond_grant
    }
}
