//! Moments of the record: whole microseconds since 1970 in UTC, and the ISO weeks that they lie in.
//!
//! This file must never ask what time it is: a `Clock` says so.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike as _, NaiveDate, SecondsFormat, Utc, Weekday};

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// The moment of a system's clock; one before 1970 or after 294246 is cut to the nearest that can
    /// be written.
    pub fn of(time: SystemTime) -> Self {
        let whole = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => whole(since),
            Err(before) => -whole(before.duration()),
        })
    }

    /// How long after 1970 it is; nothing before.
    pub fn since_epoch(self) -> Duration {
        Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }

    /// How long it is from `earlier` to here; nothing if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// The day in UTC as `yyyy-mm-dd`.
    pub fn date(self) -> String {
        self.utc().format("%Y-%m-%d").to_string()
    }

    /// The ISO week in UTC.
    pub fn week(self) -> IsoWeek {
        let week = self.utc().iso_week();
        IsoWeek { year: week.year(), week: week.week() }
    }
}

impl fmt::Display for Micros {
    /// RFC 3339 with six decimals, as in `2026-11-28T20:08:50.000001Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

/// A text that is no moment or week.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not {expected}", text.escape_debug())]
pub struct TimeError {
    text: String,
    expected: &'static str,
}

impl FromStr for Micros {
    type Err = TimeError;

    /// RFC 3339, or a day, which means its beginning in UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
        let day = || {
            let day: NaiveDate = text.parse().ok()?;
            Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
        };
        whole.ok().or_else(day).map(Self).ok_or_else(|| TimeError {
            text: text.chars().take(64).collect(),
            expected: "a time as in 2026-11-28T20:08:50Z, or a day as in 2026-11-28 (UTC)",
        })
    }
}

/// A week of ISO 8601, from Monday 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IsoWeek {
    year: i32,
    week: u32,
}

impl IsoWeek {
    /// The week's first moment.
    pub fn begin(self) -> Micros {
        let monday = NaiveDate::from_isoywd_opt(self.year, self.week, Weekday::Mon);
        let midnight = monday.and_then(|day| day.and_hms_opt(0, 0, 0));
        Micros(midnight.map_or(i64::MIN, |time| time.and_utc().timestamp_micros()))
    }
}

impl fmt::Display for IsoWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-W{:02}", self.year, self.week)
    }
}

impl FromStr for IsoWeek {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TimeError {
            text: text.chars().take(64).collect(),
            expected: "a week of ISO 8601 as in 2026-W48",
        };
        let (year, week) = text.split_once("-W").ok_or_else(wrong)?;
        let week = Self {
            year: year.parse().map_err(|_| wrong())?,
            week: week.parse().map_err(|_| wrong())?,
        };
        let exists = NaiveDate::from_isoywd_opt(week.year, week.week, Weekday::Mon).is_some();
        (exists && week.to_string() == text).then_some(week).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_weeks_read_back() {
        let moment: Micros = "2026-11-28T20:08:50.000001Z".parse().unwrap();
        assert_eq!(moment.0, 1_795_896_530_000_001);
        assert_eq!(moment.to_string(), "2026-11-28T20:08:50.000001Z");
        assert_eq!(
            (moment.date(), moment.week().to_string()),
            ("2026-11-28".into(), "2026-W48".into())
        );
        assert_eq!("2026-11-23".parse(), Ok(moment.week().begin()));
        assert_eq!("2026-W48".parse(), Ok(moment.week()));
        for bad in ["", "2026-W54", "2026-W0", "2026-W1", "2026-48", "W48"] {
            assert!(bad.parse::<IsoWeek>().is_err(), "{bad}");
        }
        assert!("yesterday".parse::<Micros>().is_err());
        assert_eq!(Micros::of(UNIX_EPOCH - Duration::from_secs(1)), Micros(-1_000_000));
    }
}
