//! The one binary: every role and every command of Latchkey.

use std::process::ExitCode;

fn main() -> ExitCode {
    latchkey::run()
}
