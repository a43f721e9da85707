//! The refresh protocol (`architecture.md` §6): tokens are fresh before anyone needs them, and no grant is
//! lost to a race. Many providers rotate: a refresh token presented twice kills the grant. So what this
//! module guards against is *overlap*: presenting a generation (the refresh token of one version) while an
//! earlier presentation of it may still be answered, or while one of our journals holds its successor.
//!
//! The decisions are pure functions in `domain::refresh`; the conditional writes are the store's; here is
//! the I/O between them, in the order that makes it safe:
//!
//! ```text
//!  read row and tokens ─▶ may it be claimed? ── no ──▶ wait for whoever has it, serve what lives, or say when
//!        ▲                      │ yes, and a send slot is free
//!        │                      ▼
//!        │ lost the race   CLAIM: attempt, holder and lease into the row if it is as it was read, committed
//!        ├──────────────────────┤
//!        │                      ▼
//!        │ too late        within lease − timeout of the moment before the claim?
//!        │◀─ closed, unsent ────┤
//!        │                      ▼
//!        │                 SEND once, in a task that no dropped caller and no SIGTERM cancels
//!        │        4xx or unsent │ 5xx, time-out, cut        │ tokens
//!        │◀─ CLOSE ─────────────┤                           ▼
//!        │   cool-down,         │                      KEEP: sealed, into the journal
//!        │   needs_reauth or    ▼                           ▼
//!        │   paused client  CLOSE in doubt             LAND: version + 1 where the version is the one sent,
//!        │                      │                           also over needs_reauth and for a deleted
//!        │  out of doubt: after │                           connection (which then revokes it)
//!        └── quiet time, with ──┘                           │
//!            grace or need                                  ▼
//!                                                      trim the journal, wake those who wait
//! ```
//!
//! A process that dies leaves an open attempt in the row and perhaps an answer in its journal. The lock on
//! the journal's file goes with the process; whoever finds it free (at start, and every few seconds) lands
//! what it holds, and only then closes the dead holder's attempts as in doubt. Nobody else frees them, but
//! for the end of the patience (`domain::refresh::may_claim`).
//!
//! | file | what it does |
//! | --- | --- |
//! | `refresher.rs` | what callers see: a fresh token for a grant, a batch of due grants |
//! | `attempt.rs` | one attempt, from the claim to its end |
//! | `landing.rs` | an answer on its way into the store |
//! | `closing.rs` | the end of an attempt without one |
//! | `recovery.rs` | journals of dead processes, and what this one could not land |
//! | `journal.rs`, `record.rs` | the file and its entries |
//! | `health.rs` | breakers, retry budget and well-being of token endpoints |
//! | `shared_token.rs` | connections that hold one refresh token: one presents it, the others take over |
//! | `probe.rs` | a paused auth config is tried out |
//! | `flights.rs` | callers of one grant share one attempt |
//! | `protocol.rs`, `warm.rs`, `moment.rs` | what the steps share: decisions, send slots; opened tokens; database time |
//! | `fault.rs` | crash points for the fault tests |

mod attempt;
mod closing;
mod fault;
mod flights;
mod health;
mod journal;
mod landing;
mod moment;
mod probe;
mod protocol;
mod record;
mod recovery;
mod refresher;
mod shared_token;
mod warm;

#[cfg(test)]
mod tests;

pub(crate) use refresher::{FreshToken, NotFresh, Refresher};
