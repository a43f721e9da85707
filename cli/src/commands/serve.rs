//! `latchkey serve`: the roles of this process, until a signal.

use clap::{Args, ValueEnum};
use latchkey_runtime::{Role, fleet};

use crate::{failure::asked_wrongly, serving, settings::Place};

const EXAMPLES: &str = "\
Examples:
  latchkey serve                                      all roles, http://127.0.0.1:8080
  latchkey serve --sandbox                            with a provider to try against
  latchkey serve --data-dir /var/lib/latchkey --public-url https://keys.example.com
  latchkey serve --catalog-dir ./providers            with providers of your own
  latchkey serve --role worker                        one role of a fleet (DATABASE_URL and REDIS_URL are set)
  latchkey serve --role api --role scheduler          two of them";

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
    All,
}

/// The roles that were named, each once; all if none was.
fn roles(named: &[RoleName]) -> Vec<Role> {
    let is_named = |role: &Role| {
        let name = match role {
            Role::Api => RoleName::Api,
            Role::Worker => RoleName::Worker,
            Role::Scheduler => RoleName::Scheduler,
        };
        named.is_empty() || named.contains(&RoleName::All) || named.contains(&name)
    };
    Role::ALL.into_iter().filter(is_named).collect()
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[
        ("listen", arguments.listen),
        ("admin_listen", arguments.admin_listen),
        ("public_url", arguments.public_url),
    ])?;
    let roles = roles(&arguments.roles);
    if !config.is_fleet() && roles != Role::ALL {
        return Err(asked_wrongly(
            "the embedded engine's queue lives in this process, so it runs all roles or none: leave --role \
             out, or set DATABASE_URL and REDIS_URL for the fleet",
        ));
    }
    fleet::check_roles(&config, &roles).map_err(|error| asked_wrongly(error.to_string()))?;
    serving::serve(serving::Plan {
        config,
        roles,
        sandbox: arguments.sandbox.then_some(arguments.sandbox_listen),
        until_eof: arguments.until_eof,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_add_up_in_any_order() {
        let role = |names: &[RoleName]| roles(names);
        assert_eq!(role(&[]), Role::ALL);
        assert_eq!(role(&[RoleName::All, RoleName::Api]), Role::ALL);
        assert_eq!(
            role(&[RoleName::Scheduler, RoleName::Api, RoleName::Api]),
            [Role::Api, Role::Scheduler]
        );
    }
}
