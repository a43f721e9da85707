//! `serve`: the roles of this process, how they come up, and how they go down.
//!
//! A stop has two steps. First nothing new comes in: the API answers what it has, the scheduler ends,
//! `/readyz` says 503. When every caller has an answer, the workers finish; work that must not be cut (a
//! token request that was sent) is waited for. Only then does the process end.

mod ends;
mod sandbox;
mod screen;
mod server;

use std::{io::IsTerminal, net::SocketAddr};

use latchkey_runtime::{Config, Role, config::LogChoice};
use latchkey_telemetry::logs::{self, LogFormat};

pub(crate) use ends::Ends;

/// What to serve.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The settings.
    pub(crate) config: Config,
    /// These roles.
    pub(crate) roles: Vec<Role>,
    /// The simulated provider at this address.
    pub(crate) sandbox: Option<SocketAddr>,
    /// Whether the end of standard input is a reason to stop.
    pub(crate) until_eof: bool,
}

/// Serves until a signal, then stops. A second signal ends the process at once.
///
/// # Errors
/// Why it did not come up, which role failed, or what did not finish in time.
pub(crate) async fn serve(plan: Plan) -> anyhow::Result<()> {
    logs(plan.config.log_format)?;
    let mut ends = Ends::listen(plan.until_eof)?;
    let mut server = server::Server::start(plan).await?;
    let outcome = tokio::select! {
        why = ends.next() => {
            tracing::info!(why, "stopping: what is in flight is finished first");
            Ok(())
        }
        failed = server.role_failed() => Err(failed),
    };
    let stopped = tokio::select! {
        stopped = server.stop() => stopped,
        why = ends.next() => {
            tracing::warn!(why, "ending at once: what was in flight is cut; the next start heals it");
            std::process::exit(1);
        }
    };
    outcome.and(stopped)
}

/// Sends logs to stderr in this form.
pub(crate) fn logs(choice: LogChoice) -> anyhow::Result<()> {
    let format = if is_pretty(choice) {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    };
    Ok(logs::init(format, logs::DEFAULT_FILTER)?)
}

fn is_pretty(choice: LogChoice) -> bool {
    match choice {
        LogChoice::Auto => std::io::stderr().is_terminal(),
        LogChoice::Pretty => true,
        LogChoice::Json => false,
    }
}
