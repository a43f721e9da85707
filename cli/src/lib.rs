//! The command line of Latchkey. Each command is one file in `commands/`; what they share stands beside it:
//! how the operator's side is reached ([`operator`]), where settings come from ([`settings`]), how credentials
//! are read ([`credentials`]), how a failure is told ([`failure`]), and the larger walks: [`serving`] (all
//! roles in one process), [`doctor`] (what may be wrong), [`demo`] (the main job once, from outside) and [`bench`]
//! (how fast the parts are).
//!
//! What a program reads goes to stdout; everything else goes to stderr. Exit 0: done, 1: failed, 2: asked
//! wrongly.

use std::{num::NonZero, process::ExitCode};

use clap::Parser;

mod bench;
mod commands;
mod credentials;
mod demo;
#[cfg(test)]
mod deployed;
mod doctor;
mod failure;
mod http;
mod operator;
mod output;
mod serving;
mod settings;

/// Parses the arguments, does what they ask, and says how it went.
pub fn run() -> ExitCode {
    let arguments = commands::Cli::parse();
    // Crash points named in FAILPOINTS, in builds for the fault tests alone.
    #[cfg(feature = "fault")]
    let _points = fail::FailScenario::setup();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failure::tell(&anyhow::Error::new(error).context("cannot start")),
    };
    let done = runtime.block_on(commands::dispatch(arguments));
    // A prompt that was left keeps a thread of the runtime; nobody waits for it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::tell(&error),
    }
}

/// The threads that run tasks: one for each core but one, which is left to the thread that writes SQLite's file, or to
/// the databases and processes beside this one. Small pieces of work that cross from thread to thread cost more than
/// they gain (measured: README, "Performance").
fn threads() -> usize {
    let asked = std::env::var("TOKIO_WORKER_THREADS").ok();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    asked
        .and_then(|threads| threads.parse().ok())
        .filter(|threads| *threads > 0)
        .unwrap_or(cores - 1)
        .max(1)
}
