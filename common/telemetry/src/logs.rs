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

/// Sends this process's logs to stderr. `RUST_LOG`, where it is set, goes before `filter`; an empty filter
/// is [`DEFAULT_FILTER`]. Crates that log through the `log` crate are not listened to.
///
/// # Errors
/// [`LogError`] when the filter does not parse, or when logs were set up before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = [asked.trim(), filter.trim(), DEFAULT_FILTER]
        .into_iter()
        .find(|f| !f.is_empty())
        .unwrap_or(DEFAULT_FILTER);
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

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use latchkey_domain::{JobId, RequestId};
    use tracing::{debug, error, info, subscriber::with_default, trace, warn};

    use super::*;
    use crate::{job_span, request_span};

    const REQUEST: RequestId = RequestId::from_u128(0xa1);
    const JOB: JobId = JobId::from_u128(0xb2);

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs.
    fn logged(format: LogFormat, filter: &str, work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        with_default(subscriber, work);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn work() {
        request_span(REQUEST).in_scope(|| {
            error!("refused");
            job_span(JOB, "provider_call", 2).in_scope(|| {
                tracing::info_span!("refresh", provider = "sandbox").in_scope(|| {
                    warn!(status = 503, "the provider is down");
                    info!("tried");
                    trace!("detail");
                });
            });
        });
    }

    #[test]
    fn every_line_has_its_ids_whatever_the_filter() {
        let filters = [
            ("trace", 4),
            ("info", 3),
            ("warn", 2),
            ("error", 1),
            ("off,latchkey_telemetry=warn", 2),
            ("latchkey=info", 3),
            ("latchkey_ids=off,warn", 2),
            ("off", 0),
        ];
        for format in [LogFormat::Pretty, LogFormat::Json] {
            for (filter, count) in filters {
                let lines = logged(format, filter, work);
                assert_eq!(lines.len(), count, "{filter}: {lines:?}");
                for (nth, line) in lines.iter().enumerate() {
                    assert!(line.contains(&REQUEST.to_string()), "{filter}: {line}");
                    assert_eq!(line.contains(&JOB.to_string()), nth > 0, "{filter}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_json_line_is_one_object() {
        let lines = logged(LogFormat::Json, "warn", work);
        let line: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "the provider is down");
        assert_eq!(line["status"], 503);
        assert_eq!(line["spans"][0]["request_id"], REQUEST.to_string());
        assert_eq!(line["spans"][1]["job_id"], JOB.to_string());
        assert_eq!(line["spans"][1]["kind"], "provider_call");
        assert_eq!(line["spans"][1]["attempt"], 2);
    }

    #[test]
    fn text_from_outside_makes_no_second_line() {
        let text = "two\nlines \"quoted\" \u{1b}[31m";
        let work = || info!(text, other = ?text, "x");
        let json = logged(LogFormat::Json, "info", work);
        let line: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!((json.len(), &line["text"]), (1, &text.into()));
        let pretty = logged(LogFormat::Pretty, "info", work);
        assert_eq!(pretty.len(), 1);
        assert!(!pretty[0].contains('\u{1b}'), "{pretty:?}");
    }

    #[test]
    fn talkative_crates_are_quiet_unless_named() {
        let talk = || {
            trace!(target: "hyper::proto::h1", "read 17 bytes");
            debug!(target: "rustls::client", "sending");
            info!(target: "hyper", "info is fine");
            trace!(target: "latchkey_oauth", "ours");
        };
        assert_eq!(logged(LogFormat::Pretty, "trace", talk).len(), 2);
        assert_eq!(
            logged(LogFormat::Pretty, "trace,hyper=trace", talk).len(),
            3
        );
    }

    #[test]
    fn logs_are_set_up_once() {
        init(LogFormat::Json, "off").unwrap();
        let error = init(LogFormat::Json, "").unwrap_err();
        assert!(matches!(error, LogError::AlreadySet(_)), "{error}");
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_shows_it() {
        let error = env_filter("latchkey=loud").unwrap_err();
        let text = crate::Chain(&error).to_string();
        assert!(text.contains("'latchkey=loud'"), "{text}");
    }

    #[test]
    fn formats_are_named_in_lower_case() {
        let read: LogFormat = serde_json::from_str("\"json\"").unwrap();
        assert_eq!(
            (read, LogFormat::default()),
            (LogFormat::Json, LogFormat::Pretty)
        );
    }
}
