//! How a caller wants its answer (`Prefer`, RFC 7240): waiting for it, later, or waiting a while and then later.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

/// The longest wait that a caller may ask for.
pub(super) const WAIT_AT_MOST: Duration = Duration::from_secs(60);

/// How a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// In the answer to this request. Nothing is written before it.
    Waiting,
    /// 202 once it is written down, after waiting so long for the outcome.
    Later(Duration),
}

impl Preference {
    /// Reads `respond-async` (§4.1) and `wait` (§4.3). Other preferences may stand beside them, and what is not
    /// understood is ignored, as the RFC asks.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let values = headers.get_all("prefer").iter();
        let preferences = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            // What follows a semicolon is a parameter of the preference before it.
            .filter_map(|preference| preference.split(';').next());
        let (mut wait, mut is_async) = (None, false);
        for preference in preferences {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                is_async = true;
            } else if name.eq_ignore_ascii_case("wait") && wait.is_none() {
                // The first of several counts (§2).
                wait = value.parse().ok().map(Duration::from_secs);
            }
        }
        match (wait, is_async) {
            (Some(wait), _) => Self::Later(wait.min(WAIT_AT_MOST)),
            (None, true) => Self::Later(Duration::ZERO),
            (None, false) => Self::Waiting,
        }
    }

    /// The same for a request that is written down in any case.
    pub(super) fn wait(self) -> Duration {
        match self {
            Self::Waiting => Duration::ZERO,
            Self::Later(wait) => wait,
        }
    }
}

/// `Preference-Applied` for a wait of this long.
pub(super) fn applied(wait: Duration) -> HeaderValue {
    if wait.is_zero() {
        return HeaderValue::from_static("respond-async");
    }
    // Digits are a header.
    HeaderValue::try_from(format!("wait={}", wait.as_secs()))
        .unwrap_or(HeaderValue::from_static("wait"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Preference {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", HeaderValue::from_static(value));
        }
        Preference::read(&headers)
    }

    #[test]
    fn the_first_wait_counts_and_is_bounded() {
        let later = |secs| Preference::Later(Duration::from_secs(secs));
        assert_eq!(read(&[]), Preference::Waiting);
        assert_eq!(read(&["handling=strict"]), Preference::Waiting);
        assert_eq!(read(&["handling=lenient, Respond-Async; wait=5"]), later(0));
        assert_eq!(read(&["respond-async, wait=10"]), later(10));
        assert_eq!(read(&["wait=\"7\"", "wait=9"]), later(7));
        assert_eq!(read(&["wait=0"]), later(0));
        assert_eq!(read(&["wait=3600"]), later(60));
        assert_eq!(read(&["wait=soon"]), Preference::Waiting);
        assert_eq!(read(&["wait=-1, respond-async"]), later(0));
        assert_eq!(applied(Duration::ZERO), "respond-async");
        assert_eq!(applied(Duration::from_secs(5)), "wait=5");
    }
}
