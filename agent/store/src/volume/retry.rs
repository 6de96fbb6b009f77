//! When what failed is tried again: each log by itself, so that one with a bad file holds no other.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::log::Now;

/// After a failure: doubled from the first to the last.
const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(5);

/// What can fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The log of this stream.
    Log(u32),
    /// The file that is given up when the disk is full.
    Reserve,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    failed_at: i64,
    pause: Duration,
}

impl Retry {
    /// How long to wait; `None` when it is time.
    fn left(&self, now: Now) -> Option<Duration> {
        // A clock that was set back starts again.
        let passed = u64::try_from(now.unix.checked_sub(self.failed_at)?).ok()?;
        self.pause.checked_sub(Duration::from_nanos(passed)).filter(|left| !left.is_zero())
    }
}

/// What failed when it was last tried.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<Part, Retry>);

impl Retries {
    /// Whether a part may be tried.
    pub(super) fn is_due(&self, part: Part, now: Now) -> bool {
        self.0.get(&part).is_none_or(|retry| retry.left(now).is_none())
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.0.contains_key(&part)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn failed(&mut self, part: Part, now: Now) {
        let pause = self.0.get(&part).map_or(FIRST, |retry| (retry.pause * 2).min(LAST));
        self.0.insert(part, Retry { failed_at: now.unix, pause });
    }

    /// It went well, or it is no more.
    pub(super) fn forget(&mut self, part: Part) {
        self.0.remove(&part);
    }

    /// Until the first of them is due.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        self.0.values().map(|retry| retry.left(now).unwrap_or_default()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: i64 = 1_000_000;

    fn at(millis: i64) -> Now {
        Now { unix: millis * MILLI }
    }

    #[test]
    fn pauses_double_up_to_the_last_and_a_success_ends_them() {
        let (mut retries, part) = (Retries::default(), Part::Log(3));
        let mut pauses = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            retries.failed(part, at(now));
            let pause = retries.next(at(now)).unwrap().as_millis() as i64;
            assert!(!retries.is_due(part, at(now + pause - 1)));
            now += pause;
            assert!(retries.is_due(part, at(now)));
            pauses.push(pause);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(retries.is_due(Part::Log(4), at(0)), "another log goes on");
        retries.forget(part);
        assert!(retries.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nothing() {
        let mut retries = Retries::default();
        retries.failed(Part::Reserve, at(1_000_000));
        assert!(retries.is_due(Part::Reserve, at(10)));
        assert_eq!(retries.next(at(10)), Some(Duration::ZERO));
    }
}
