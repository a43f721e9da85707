//! `latchkey bench <what>`: how fast the parts are on this machine. Each measurement is one file of
//! [`crate::bench`].

use clap::Subcommand;

use crate::bench;

/// Measure how fast the parts are on this machine, and say how busy it was
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Calls(bench::calls::Arguments),
    List(bench::list::Arguments),
    Queue(bench::queue::Arguments),
    Refresh(bench::refresh::Arguments),
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Calls(arguments) => bench::calls::run(arguments).await,
        Command::List(arguments) => bench::list::run(arguments).await,
        Command::Queue(arguments) => bench::queue::run(arguments).await,
        Command::Refresh(arguments) => bench::refresh::run(arguments).await,
    }
}
