//! Measurements: one file each, with its arguments, what it measures, and its [`Report`]. They start what
//! they need by themselves ([`fleet`]) and leave nothing behind.
//!
//! Figures depend on the machine and on what else it does, so every report says how busy it was, and a bar
//! that is not reached is told, never a failure.

pub(crate) mod calls;
pub(crate) mod fleet;
pub(crate) mod list;
pub(crate) mod queue;
pub(crate) mod refresh;
pub(crate) mod report;

pub(crate) use report::{Bar, Report};
