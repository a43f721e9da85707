//! Tests of the refresh protocol on a real store and a real provider (the sandbox, on a loopback socket).
//! Time stands still until a test moves it. A *process* here is a [`Refresher`] with a journal and a stopper
//! of its own on the shared store; killing it is dropping it.

mod crashes;
mod day;
mod doubt;
mod errors;
mod interleavings;
mod pacing;
mod rig;
mod sharing;
