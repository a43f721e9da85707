//! `latchkey serve`: all roles in this process, until a signal.

use clap::{Args, ValueEnum};
use latchkey_runtime::Role;

use crate::{failure::asked_wrongly, serving, settings::Place};

const EXAMPLES: &str = "\
Examples:
  latchkey serve                                      all roles, http://127.0.0.1:8080
  latchkey serve --sandbox                            with a provider to try against
  latchkey serve --data-dir /var/lib/latchkey --public-url https://keys.example.com
  latchkey serve --catalog-dir ./providers            with providers of your own";

/// Serve the API, the worker and the scheduler until Ctrl-C or SIGTERM
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Run this role; repeat for several [default: all]
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    roles: Vec<RoleName>,
    /// Run the simulated provider beside the server, with an auth config ready
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Where the simulated provider listens
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8081",
        requires = "sandbox"
    )]
    sandbox_listen: std::net::SocketAddr,
    /// Where the public API listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where metrics, health and the operator's routes listen [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// The origin that partners and browsers see; https unless it is loopback
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Stop when standard input ends, for programs that start this one and must not leave it behind
    #[arg(long)]
    until_eof: bool,
    #[command(flatten)]
    place: Place,
}

/// A role by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Api,
    Worker,
    Scheduler,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Api => Self::Api,
            RoleName::Worker => Self::Worker,
            RoleName::Scheduler => Self::Scheduler,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[
        ("listen", arguments.listen),
        ("admin_listen", arguments.admin_listen),
        ("public_url", arguments.public_url),
    ])?;
    let all = RoleName::value_variants();
    let chosen = &arguments.roles;
    if !config.is_fleet() && !chosen.is_empty() && !all.iter().all(|role| chosen.contains(role)) {
        return Err(asked_wrongly(
            "the embedded engine's queue lives in this process, so it runs all roles or none: leave --role \
             out, or set DATABASE_URL and REDIS_URL for the fleet",
        ));
    }
    let roles = if chosen.is_empty() { all } else { chosen };
    serving::serve(serving::Plan {
        config,
        roles: roles.iter().map(|role| Role::from(*role)).collect(),
        sandbox: arguments.sandbox.then_some(arguments.sandbox_listen),
        until_eof: arguments.until_eof,
    })
    .await
}
