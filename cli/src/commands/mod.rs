//! The commands, one a file: its arguments, its examples, and what it does.

mod auth_config;
mod bench;
mod connection;
mod demo;
mod doctor;
mod health;
mod jobs;
mod keys;
mod migrate;
mod partner;
mod provider;
mod sandbox;
mod serve;
mod usage;
mod version;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  latchkey                          serve here: http://127.0.0.1:8080, data in ./latchkey-data
  latchkey demo                     see the main job done once, on real sockets
  latchkey serve --sandbox          serve, with a simulated provider beside it
  latchkey partner create --company Acme --website https://acme.example
  latchkey doctor                   what may be wrong here, and how to mend it

Exit codes: 0 done, 1 failed, 2 asked wrongly. With --json, stdout holds one JSON object or one per line.";

/// Holds the OAuth grants of your partners' users, keeps them fresh, and calls providers on their behalf
#[derive(Debug, Parser)]
#[command(name = "latchkey", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command the binary serves.
    #[command(flatten)]
    serve: serve::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Sandbox(sandbox::Arguments),
    #[command(subcommand)]
    Partner(partner::Command),
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    AuthConfig(auth_config::Command),
    #[command(subcommand)]
    Jobs(jobs::Command),
    #[command(subcommand)]
    Usage(usage::Command),
    #[command(subcommand)]
    Connection(connection::Command),
    #[command(subcommand)]
    Provider(provider::Command),
    Migrate(migrate::Arguments),
    #[command(subcommand)]
    Bench(bench::Command),
    Doctor(doctor::Arguments),
    Health(health::Arguments),
    Version(version::Arguments),
}

/// Does what was asked.
pub(crate) async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Sandbox(arguments) => sandbox::run(arguments).await,
        Command::Partner(command) => partner::run(command).await,
        Command::Keys(command) => keys::run(command).await,
        Command::AuthConfig(command) => auth_config::run(command).await,
        Command::Jobs(command) => jobs::run(command).await,
        Command::Usage(command) => usage::run(command).await,
        Command::Connection(command) => connection::run(command).await,
        Command::Provider(command) => provider::run(command).await,
        Command::Migrate(arguments) => migrate::run(arguments).await,
        Command::Bench(command) => bench::run(command).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Health(arguments) => health::run(arguments).await,
        Command::Version(arguments) => version::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for inner in command.get_subcommands() {
                check(inner, path.trim());
            }
            if command.get_subcommands().next().is_none() {
                let help = command.clone().render_long_help().to_string();
                assert!(help.contains("Example"), "{path} --help has no example");
                assert!(
                    help.contains(&path.trim_start().replace("latchkey ", "")),
                    "{path}: {help}"
                );
            }
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn serving_is_what_happens_without_a_command() {
        let cli = Cli::try_parse_from(["latchkey", "--data-dir", "x", "--sandbox"]).unwrap();
        assert!(cli.command.is_none() && cli.serve.sandbox);
        assert!(Cli::try_parse_from(["latchkey", "--sandbox", "doctor"]).is_err());
    }
}
