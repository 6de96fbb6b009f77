//! Parts of a time in UTC, as CEL counts them.

use crate::civil::civil;

/// A part of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    /// From 0.
    Month,
    /// Day of the month, from 1.
    Date,
    /// From 0, Sunday.
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    /// Of nanoseconds since 1970-01-01T00:00:00Z.
    pub(super) fn of(self, nanos: i64) -> i64 {
        let seconds = nanos.div_euclid(1_000_000_000);
        let days = seconds.div_euclid(86_400);
        let of_day = seconds.rem_euclid(86_400);
        match self {
            Self::FullYear => civil(days).0,
            Self::Month => civil(days).1 - 1,
            Self::Date => civil(days).2,
            // The first of January 1970 was a Thursday.
            Self::DayOfWeek => (days + 4).rem_euclid(7),
            Self::Hours => of_day / 3600,
            Self::Minutes => of_day / 60 % 60,
            Self::Seconds => of_day % 60,
            Self::Milliseconds => nanos.rem_euclid(1_000_000_000) / 1_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_has_its_parts_too() {
        let nanos = -1;
        let parts = [Part::FullYear, Part::Hours, Part::Seconds, Part::Milliseconds];
        assert_eq!(parts.map(|p| p.of(nanos)), [1969, 23, 59, 999]);
        assert_eq!(Part::DayOfWeek.of(nanos), 3);
    }
}
