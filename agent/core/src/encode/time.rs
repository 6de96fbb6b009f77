//! Time as RFC 3339 text in UTC with nanoseconds, without an allocation.

use lineside_crds::civil::civil;

use crate::clock::UnixNanos;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Writes e.g. `2026-11-25T10:16:29.000000001Z` (30 bytes). Any value fits: the range is the
/// years 1677 to 2262, so the year has four digits.
pub fn write_rfc3339(time: UnixNanos, out: &mut Vec<u8>) {
    let seconds = time.div_euclid(NANOS_PER_SECOND);
    let nanos = time.rem_euclid(NANOS_PER_SECOND);
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], second / 3600);
    put(&mut text[14..16], second / 60 % 60);
    put(&mut text[17..19], second % 60);
    put(&mut text[20..29], nanos);
    out.extend_from_slice(&text);
}

/// Decimal digits of a number that is not negative, right-aligned over zeros.
fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(time: UnixNanos) -> String {
        let mut out = Vec::new();
        write_rfc3339(time, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_instants_are_written_as_every_calendar_has_them() {
        // The numbers are those of `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
            (-2_203_891_200, "1900-03-01T00:00:00.000000000Z"),
            (1_795_601_789, "2026-11-25T10:16:29.000000000Z"),
        ] {
            assert_eq!(text(seconds * NANOS_PER_SECOND), expected, "{seconds}");
        }
        assert_eq!(text(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(text(i64::MIN), "1677-09-21T00:12:43.145224192Z");
    }
}
