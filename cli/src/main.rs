//! The one binary: every role and every command of Latchkey.

use std::process::ExitCode;

/// Calls and refreshes are many small, short-lived pieces: headers, rows, sealed texts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    latchkey::run()
}
