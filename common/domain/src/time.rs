//! [`Timestamp`]: the one form in which time is stored and compared, microseconds since the Unix epoch, UTC.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, UTC: what the store keeps as BIGINT.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a time such as 2026-11-21T20:00:00Z")]
pub struct TimeError {
    /// What was given.
    pub text: String,
    #[source]
    source: jiff::Error,
}

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Time left until `later`; zero when it has passed.
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }

    /// This time moved back, stopping at the smallest representable one.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// Reads an RFC 3339 time.
    ///
    /// # Errors
    /// [`TimeError`] when the text is no such time.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Self(at.as_microsecond()))
            .map_err(|source| TimeError {
                text: text.to_owned(),
                source,
            })
    }

    /// The start of the UTC calendar month that holds this time, `months` later (or earlier).
    #[must_use]
    pub fn month_start(self, months: i32) -> Self {
        let date = self.civil_date();
        let index = i32::from(date.year()) * 12 + i32::from(date.month()) - 1 + months;
        let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
        let start = i16::try_from(year)
            .ok()
            .zip(i8::try_from(month).ok())
            .and_then(|(y, m)| jiff::civil::Date::new(y, m, 1).ok())
            .and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok());
        start.map_or(self, |z| Self(z.timestamp().as_microsecond()))
    }

    /// The UTC calendar month as `2026-11`.
    pub fn month(self) -> String {
        let date = self.civil_date();
        format!("{:04}-{:02}", date.year(), date.month())
    }

    /// This time cut down to a multiple of `span` since the epoch (hours, days).
    #[must_use]
    pub fn floor(self, span: Duration) -> Self {
        let span = micros(span).max(1);
        Self(self.0.div_euclid(span) * span)
    }

    fn civil_date(self) -> jiff::civil::Date {
        self.jiff().to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    fn jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

/// RFC 3339 with milliseconds and `Z`, as the public API shows times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.jiff())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_milliseconds_and_reads_them_back() {
        let at = Timestamp::parse("2026-11-21T20:33:00.5Z").unwrap();
        assert_eq!(at.to_string(), "2026-11-21T20:33:00.500Z");
        assert_eq!(Timestamp::parse(&at.to_string()).unwrap(), at);
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn months_are_utc_calendar_months() {
        let at = Timestamp::parse("2026-12-31T23:59:59.999Z").unwrap();
        assert_eq!(at.month(), "2026-12");
        assert_eq!(at.month_start(0).to_string(), "2026-12-01T00:00:00.000Z");
        assert_eq!(at.month_start(1).to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(at.month_start(-12).to_string(), "2025-12-01T00:00:00.000Z");
    }

    #[test]
    fn differences_never_go_below_zero() {
        let (a, b) = (Timestamp::from_secs(10), Timestamp::from_secs(4));
        assert_eq!(a.since(b), Duration::from_secs(6));
        assert_eq!(b.since(a), Duration::ZERO);
        assert_eq!(a.floor(Duration::from_secs(7)), Timestamp::from_secs(7));
    }
}
