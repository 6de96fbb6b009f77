//! Times and durations of the command line.

use anyhow::bail;
use lineside_core::UnixNanos;
use lineside_crds::civil::civil;

use super::HOUR;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// From when to when.
#[derive(Debug, clap::Args)]
pub struct Span {
    /// First time, as RFC 3339 or as how long ago (15m, 2h, 3d) [default: an hour before --to]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Moment>,
    /// Time behind the last one, in the same forms [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Moment>,
}

/// A time, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds since 1970.
    At(UnixNanos),
    /// Nanoseconds before now.
    Ago(i64),
}

impl Span {
    /// Both ends.
    ///
    /// # Errors
    /// There is nothing between them.
    pub fn ends(&self, now: UnixNanos) -> anyhow::Result<(UnixNanos, UnixNanos)> {
        let at = |moment| match moment {
            Moment::At(time) => time,
            Moment::Ago(nanos) => now.saturating_sub(nanos),
        };
        let to = self.to.map_or(now, at);
        let from = self.from.map_or(to.saturating_sub(HOUR), at);
        if from >= to {
            bail!("--from is not before --to");
        }
        Ok((from, to))
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Some(time) = rfc3339(text) {
        return Ok(Moment::At(time));
    }
    let other = |_| {
        let example = "2026-11-28T10:00:00Z, or how long ago: 15m";
        format!("expected a time of the years 1678 to 2261 such as {example}")
    };
    duration(text).map(Moment::Ago).map_err(other)
}

/// Nanoseconds of a number with a unit.
///
/// # Errors
/// It is none, or zero.
pub fn duration(text: &str) -> Result<i64, String> {
    let units = [
        ("ms", SECOND / 1000),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", HOUR),
        ("d", DAY * SECOND),
    ];
    let of = |(unit, nanos): &(&str, i64)| {
        let digits = text.strip_suffix(unit).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok().filter(|n| *n > 0)?.checked_mul(*nanos)
    };
    units.iter().find_map(of).ok_or_else(|| "expected a number with ms, s, m, h or d".to_owned())
}

/// Nanoseconds since 1970 of e.g. `2026-11-28T10:00:00.5+01:00`.
fn rfc3339(text: &str) -> Option<UnixNanos> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(zone)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(whole, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let nanos = number(&format!("{fraction:0<9}"))?;
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (sign, zone) = zone.split_at_checked(1)?;
            let [hours, minutes] = numbers(zone, ':', [2, 2])?;
            let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let seconds = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

/// Days since 1970 of a date that there is; the inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year_from_march = year - i64::from(month <= 2);
    let era = year_from_march.div_euclid(400);
    let of_era = year_from_march.rem_euclid(400);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        *number = self::number(parts.next().filter(|part| part.len() == digits)?)?;
    }
    parts.next().is_none().then_some(found)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use lineside_core::encode::write_rfc3339;

    use super::*;

    #[test]
    fn a_time_that_was_written_is_read_as_the_same() {
        for time in [0, 1, -1, 1_795_823_789_000_000_001, i64::MIN + 854_775_808, i64::MAX] {
            let mut text = Vec::new();
            write_rfc3339(time, &mut text);
            assert_eq!(rfc3339(std::str::from_utf8(&text).unwrap()), Some(time));
        }
        let noon = rfc3339("2026-11-28T12:00:00Z");
        assert!(noon.is_some());
        assert_eq!(rfc3339("2026-11-28T13:30:00.000+01:30"), noon);
        assert_eq!(rfc3339("2026-11-28 07:00:00-05:00"), noon);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-28",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-28T24:00:00Z",
            "2026-11-28T00:00:00",
            "2026-11-28T00:00:00.Z",
            "2026-11-28T0:00:00Z",
            "2026-11-28T00:00:00+1:00",
            "9999-01-01T00:00:00Z",
            "2026-11-2äT00:00:00Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
            assert!(moment(text).is_err(), "{text}");
        }
        assert_eq!(moment("15m"), Ok(Moment::Ago(900 * SECOND)));
        assert_eq!(duration("250ms"), Ok(SECOND / 4));
        for text in ["0s", "5", "m", "-1m", "1w", "9999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
