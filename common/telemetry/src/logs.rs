//! Logs: one line an event on stderr, for people or for programs.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing::{Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, fmt, fmt::MakeWriter, layer::SubscriberExt,
};

use crate::spans;

/// What is logged when nothing else is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// Crates that at `debug` or `trace` may write what went over a connection. They stay at `info` unless the
/// filter names them, so that `RUST_LOG=trace` shows all of Latchkey and no secret.
const TALKATIVE: &str = "hyper=info,hyper_util=info,h2=info,reqwest=info,rustls=info";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    #[default]
    Pretty,
    /// One JSON object a line; ids stand in `spans`.
    Json,
}

/// Logs that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is no list of directives.
    #[error("the log filter '{filter}' is not one such as 'info' or 'info,latchkey_store=debug'")]
    Filter {
        /// What was given.
        filter: String,
        /// Which part is wrong.
        #[source]
        source: ParseError,
    },
    /// Something set up logs in this process before.
    #[error("logs were set up already")]
    AlreadySet(#[source] SetGlobalDefaultError),
}

/// Sends this process's logs to stderr. `RUST_LOG`, where it is set, goes before `filter`.
///
/// # Errors
/// [`LogError`] when the filter does not parse, or when logs were set up before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let asked = std::env::var("RUST_LOG")
        .ok()
        .filter(|f| !f.trim().is_empty());
    let filter = asked.as_deref().unwrap_or(filter);
    let colours = std::io::stderr().is_terminal();
    let subscriber = subscriber(format, filter, colours, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::AlreadySet)
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Pretty => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .boxed(),
    };
    Ok(Registry::default().with(lines).with(env_filter(filter)?))
}

fn env_filter(filter: &str) -> Result<EnvFilter, LogError> {
    // Later directives for the same target win, so the caller's stand between ours.
    let all = format!("{TALKATIVE},{filter},{}=error", spans::TARGET);
    EnvFilter::try_new(&all).map_err(|source| LogError::Filter {
        filter: filter.to_owned(),
        source,
    })
}
