//! Silent intervals of RTU (serial line specification V1.02, 2.5.1.1).

use std::time::Duration;

/// Above this rate, in bit/s, the intervals no longer follow the length of a character.
const FIXED_ABOVE: u32 = 19_200;

/// The silence that separates two frames: 3.5 characters, 1.75 ms above 19200 bit/s.
/// `bits` are those of one character with start, parity and stop bits (11 in the standard).
pub fn between_frames(baud: u32, bits: u32) -> Duration {
    silence(baud, bits, 7, Duration::from_micros(1_750))
}

/// The longest silence within a frame: 1.5 characters, 0.75 ms above 19200 bit/s.
pub fn within_frame(baud: u32, bits: u32) -> Duration {
    silence(baud, bits, 3, Duration::from_micros(750))
}

fn silence(baud: u32, bits: u32, halves: u32, fixed: Duration) -> Duration {
    if baud > FIXED_ABOVE {
        return fixed;
    }
    let nanos = u64::from(bits) * u64::from(halves) * 1_000_000_000;
    Duration::from_nanos(nanos.div_ceil(2 * u64::from(baud.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_the_character_up_to_19200_and_are_fixed_above() {
        assert_eq!(between_frames(9600, 11), Duration::from_nanos(4_010_417));
        assert_eq!(
            within_frame(9600, 11),
            Duration::from_micros(1_718) + Duration::from_nanos(750)
        );
        assert_eq!(between_frames(19_200, 11), Duration::from_nanos(2_005_209));
        assert_eq!(between_frames(38_400, 11), Duration::from_micros(1_750));
        assert_eq!(within_frame(115_200, 10), Duration::from_micros(750));
    }
}
