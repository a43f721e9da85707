//! Whole-platform tests: the real binary, real sockets, real processes. One program for all of them, so that
//! it is linked once.

#![expect(clippy::unwrap_used, reason = "a failure is a panic")]

mod connect;
