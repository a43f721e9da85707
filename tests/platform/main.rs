//! Whole-platform tests: the real binary, real sockets, real processes. One program for all of them, so that
//! it is linked once. Every test runs on both engines (`latchkey_tests::engine`), but for those in `embedded_only`
//! and `fleet_only`. `tests/run --full` sets LATCHKEY_TEST_FULL and with it the large counts.

#![expect(clippy::unwrap_used, reason = "a failure is a panic")]

mod attacks;
mod bad_provider;
mod callbacks;
mod calls;
mod commands;
mod connect;
mod crash;
mod crash_matrix;
mod embedded_only;
mod fleet_only;
mod flowra;
mod flowra_attacks;
mod flowra_examples;
mod flowra_keys;
mod ledger;
mod peer;
mod rates;
mod refresh;
mod secrets;
mod stop;
mod store_away;

/// A count: the small one, or the large one under `tests/run --full`.
fn count(small: usize, full: usize) -> usize {
    if std::env::var_os("LATCHKEY_TEST_FULL").is_some() {
        full
    } else {
        small
    }
}
