//! When to say that a device cannot keep up with its intervals: at once, then once a minute.

use std::time::Duration;

use tokio::time::Instant;

/// Least time between two such words.
const PAUSE: Duration = Duration::from_secs(60);

/// What was said.
#[derive(Debug, Default)]
pub struct Slowness {
    /// Missed ticks that are known already.
    told: u64,
    /// Nothing is said before.
    again: Option<Instant>,
}

impl Slowness {
    /// The number of ticks that were missed since the last word, when it is time for the next;
    /// `missed` counts all ticks that one reader has missed.
    pub fn news(&mut self, missed: u64, now: Instant) -> Option<u64> {
        // Another reader counts from zero.
        self.told = self.told.min(missed);
        let new = missed - self.told;
        if new == 0 || self.again.is_some_and(|at| now < at) {
            return None;
        }
        (self.told, self.again) = (missed, Some(now + PAUSE));
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_told_once_a_minute_and_none_is_forgotten() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut slowness = Slowness::default();
        assert_eq!(slowness.news(0, at(0)), None);
        assert_eq!(slowness.news(2, at(1)), Some(2));
        assert_eq!(slowness.news(9, at(60)), None);
        assert_eq!(slowness.news(10, at(61)), Some(8));
        assert_eq!(slowness.news(10, at(600)), None);
    }

    #[test]
    fn another_reader_starts_from_zero() {
        let start = Instant::now();
        let mut slowness = Slowness::default();
        assert_eq!(slowness.news(50, start), Some(50));
        assert_eq!(slowness.news(0, start + PAUSE), None);
        assert_eq!(slowness.news(3, start + PAUSE), Some(3));
    }
}
