//! Times as servers write them: `Retry-After` (RFC 9110 §10.2.3) and the units of the catalogue.

use std::time::Duration;

use ::http::{HeaderMap, header};
use latchkey_domain::Timestamp;
use serde_json::Value;

use crate::spec::TimeUnit;

/// Longest wait taken from a `Retry-After`: a provider that says more is asked again after an hour, so that
/// one broken answer does not stop a grant for days.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(3600);

/// The wait after a 429 that names none.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Longest span of a lifetime taken from an answer: ten years, the longest token seen. Beyond it lies an
/// error of unit.
const LIFE_CAP_S: f64 = 10.0 * 365.25 * 86_400.0;

/// Most words of a sentence in which a time is looked for.
const SENTENCE_WORDS: usize = 100;

/// When `Retry-After` says to come back, at most [`RETRY_AFTER_CAP`] from now. `None` without the header or
/// with one that is neither seconds (decimals allowed) nor an HTTP date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(secs) => span(secs)?,
        Err(_) => now.until(http_date(text)?),
    };
    Some(now + wait.min(RETRY_AFTER_CAP))
}

fn http_date(text: &str) -> Option<Timestamp> {
    // IMF-fixdate is the RFC 2822 form with GMT for its zone.
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_micros(parsed.timestamp().as_microsecond()))
}

fn span(secs: f64) -> Option<Duration> {
    (secs.is_finite() && secs >= 0.0)
        .then(|| Duration::try_from_secs_f64(secs.min(LIFE_CAP_S)).ok())
        .flatten()
}

impl TimeUnit {
    /// Reads a time from a JSON value: a number, or a text that holds one.
    pub fn read(self, value: &Value, now: Timestamp) -> Option<Timestamp> {
        match value {
            Value::String(text) => self.read_text(text, now),
            Value::Number(number) => self.read_number(number.as_f64()?, now),
            _ => None,
        }
    }

    /// Reads a time from a text, such as a header. An RFC 3339 time may stand among other words.
    pub fn read_text(self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let text = text.trim();
        if self == Self::Iso8601 {
            let whole = Timestamp::parse(text).ok();
            return whole.or_else(|| instant_among(text));
        }
        self.read_number(text.parse().ok()?, now)
    }

    fn read_number(self, number: f64, now: Timestamp) -> Option<Timestamp> {
        let epoch = Timestamp::default();
        match self {
            Self::DeltaS => Some(now + span(number)?),
            Self::DeltaMs => Some(now + span(number / 1000.0)?),
            Self::EpochS => Some(epoch + epoch_span(number)?),
            Self::EpochMs => Some(epoch + epoch_span(number / 1000.0)?),
            Self::Iso8601 => None,
        }
    }
}

/// The first RFC 3339 time among the words of a sentence ("Retry after 2026-11-22T07:00:00.000Z.").
fn instant_among(text: &str) -> Option<Timestamp> {
    let words = text.split_whitespace().take(SENTENCE_WORDS);
    let bare = words.map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
    // A day and a time: nothing shorter is tried.
    let mut dated = bare.filter(|word| (20..=40).contains(&word.len()));
    dated.find_map(|word| Timestamp::parse(word).ok())
}

/// A span since the epoch, up to the year 9999.
fn epoch_span(secs: f64) -> Option<Duration> {
    const YEAR_9999_S: f64 = 253_402_300_799.0;
    (secs.is_finite() && (0.0..=YEAR_9999_S).contains(&secs))
        .then(|| Duration::try_from_secs_f64(secs).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn after(text: &str) -> Option<u64> {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().ok()?)]);
        Some(NOW.until(retry_after(&headers, NOW)?).as_secs())
    }

    #[test]
    fn seconds_and_dates_are_read_and_capped() {
        assert_eq!(after("30"), Some(30));
        assert_eq!(after(" 1.5 "), Some(1));
        assert_eq!(after("0"), Some(0));
        assert_eq!(after("999999999"), Some(3600));
        // 2027-01-15T08:00:00Z is 1,800,000,000.
        assert_eq!(after("Fri, 15 Jan 2027 08:02:00 GMT"), Some(120));
        assert_eq!(after("Fri, 15 Jan 2027 07:00:00 GMT"), Some(0));
        for bad in ["", "-5", "NaN", "inf", "soon", "1e400"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_unit_reads_numbers_and_texts() {
        let at = Timestamp::from_secs(1_800_000_060);
        for (unit, value) in [
            (TimeUnit::DeltaS, Value::from(60)),
            (TimeUnit::DeltaS, Value::from("60")),
            (TimeUnit::DeltaS, Value::from(60.0)),
            (TimeUnit::DeltaMs, Value::from(60_000)),
            (TimeUnit::EpochS, Value::from("1800000060.0")),
            (TimeUnit::EpochMs, Value::from("1800000060000")),
            (TimeUnit::Iso8601, Value::from("2027-01-15T08:01:00Z")),
        ] {
            assert_eq!(unit.read(&value, NOW), Some(at), "{unit:?} {value}");
        }
        for (text, found) in [
            ("Too often. Retry after 2027-01-15T08:01:00.000Z", true),
            ("(until 2027-01-15T08:01:00+00:00).", true),
            ("Retry after 2027-01-15", false),
            ("Retry later", false),
        ] {
            let read = TimeUnit::Iso8601.read(&Value::from(text), NOW);
            assert_eq!(read, found.then_some(at), "{text}");
        }
        assert_eq!(TimeUnit::DeltaS.read(&Value::Null, NOW), None);
        assert_eq!(TimeUnit::Iso8601.read(&Value::from(5), NOW), None);
        let far = TimeUnit::DeltaS.read(&Value::from(1e300), NOW).unwrap();
        assert!(NOW.until(far) <= Duration::from_secs(11 * 366 * 86_400));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", number in any::<f64>()) {
            for unit in [TimeUnit::DeltaS, TimeUnit::DeltaMs, TimeUnit::EpochS, TimeUnit::EpochMs, TimeUnit::Iso8601] {
                let _ = unit.read_text(&text, NOW);
                let _ = unit.read_number(number, NOW);
            }
            let _ = http_date(&text);
        }
    }
}
