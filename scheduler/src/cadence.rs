//! [`Cadence`]: when a task runs. Its ticks are fixed points in time that every process computes alike, so
//! that one of them can claim each.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use latchkey_domain::Timestamp;

/// Cron lines count in these.
const SECOND: Duration = Duration::from_secs(1);

/// When a task runs.
#[derive(Clone, Debug)]
pub(crate) enum Cadence {
    /// At each multiple of this since the epoch.
    Every(Duration),
    /// As a cron line says: seconds first, UTC.
    Cron(Box<cron::Schedule>),
}

/// A cron line that does not read.
#[derive(Debug, thiserror::Error)]
#[error("'{line}' is no cron line (seconds minutes hours day month weekday)")]
pub struct CronError {
    line: String,
    #[source]
    source: cron::error::Error,
}

impl Cadence {
    /// Reads a cron line.
    pub(crate) fn cron(line: &str) -> Result<Self, CronError> {
        let schedule = cron::Schedule::from_str(line).map_err(|source| CronError {
            line: line.to_owned(),
            source,
        })?;
        Ok(Self::Cron(Box::new(schedule)))
    }

    /// The latest tick at or before `now`: all that were missed are made up by this one.
    pub(crate) fn latest(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => Some(now.floor(*period)),
            // Backwards, the iterator begins before the whole second it is given.
            Self::Cron(schedule) => {
                let before = chrono(now.floor(SECOND) + SECOND)?;
                schedule.after(&before).next_back().map(timestamp)
            }
        }
    }

    /// The first tick after `now`.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => Some(now.floor(*period) + *period),
            Self::Cron(schedule) => schedule.after(&chrono(now)?).next().map(timestamp),
        }
    }
}

fn chrono(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.as_micros())
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn periods_tick_at_their_multiples() {
        let every = Cadence::Every(Duration::from_millis(250));
        let now = at("2026-11-21T20:00:00.600Z");
        assert_eq!(every.latest(now), Some(at("2026-11-21T20:00:00.500Z")));
        assert_eq!(every.next(now), Some(at("2026-11-21T20:00:00.750Z")));
    }

    #[test]
    fn cron_lines_tick_on_the_second_they_name() {
        let minutely = Cadence::cron("0 * * * * *").unwrap();
        for (now, latest, next) in [
            ("20:00:00Z", "20:00:00Z", "20:01:00Z"),
            ("20:00:00.001Z", "20:00:00Z", "20:01:00Z"),
            ("20:00:59.999Z", "20:00:00Z", "20:01:00Z"),
            ("20:01:00Z", "20:01:00Z", "20:02:00Z"),
        ] {
            let day = |time: &str| at(&format!("2026-11-21T{time}"));
            assert_eq!(minutely.latest(day(now)), Some(day(latest)), "{now}");
            assert_eq!(minutely.next(day(now)), Some(day(next)), "{now}");
        }
        let daily = Cadence::cron("30 5 3 * * *").unwrap();
        let now = at("2026-11-21T02:00:00Z");
        assert_eq!(daily.latest(now), Some(at("2026-11-20T03:05:30Z")));
        assert_eq!(daily.next(now), Some(at("2026-11-21T03:05:30Z")));
        assert!(Cadence::cron("every minute").is_err());
    }
}
