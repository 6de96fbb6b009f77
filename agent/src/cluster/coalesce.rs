//! When a change is told: soon, but not each one while changes go on. A pure decision; time is
//! given in.

use std::time::Duration;

/// Wait after the first change, in which others join it.
const FIRST: Duration = Duration::from_secs(1);
/// Longest time between two tellings while changes go on.
const LONGEST: Duration = Duration::from_secs(30);

/// Collects changes and says when they are told. The first one waits a second; while more come
/// in after each telling, the distance of two tellings doubles up to 30 s; a pause of twice that
/// distance begins anew. Times count from any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Coalescer {
    /// Distance that is kept from the last telling.
    distance: Duration,
    told: Option<Duration>,
    due: Option<Duration>,
}

impl Coalescer {
    /// Something differs from what was told last. Further changes before the telling join it.
    pub fn changed(&mut self, now: Duration) {
        if self.due.is_some() {
            return;
        }
        let soon = now + FIRST;
        self.due = Some(match self.told {
            Some(told) if now < told + 2 * self.distance => {
                self.distance = (2 * self.distance).min(LONGEST);
                soon.max(told + self.distance)
            }
            _ => {
                self.distance = FIRST;
                soon
            }
        });
    }

    /// What differed is as it was told again: nothing is to be said.
    pub fn unchanged(&mut self) {
        self.due = None;
    }

    /// Whether it is told now.
    pub fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// It was told.
    pub fn told(&mut self, now: Duration) {
        (self.told, self.due) = (Some(now), None);
    }

    /// It could not be told; tried again after `wait`.
    pub fn failed(&mut self, now: Duration, wait: Duration) {
        self.due = Some(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells a state that changes each `period` ms for `length` s; gives the times in ms.
    fn tellings(period: u64, length: u64, coalescer: &mut Coalescer, from: u64) -> Vec<u64> {
        let mut told = Vec::new();
        for now in (from..from + length * 1000).step_by(10) {
            let at = Duration::from_millis(now);
            if (now - from).is_multiple_of(period) {
                coalescer.changed(at);
            }
            if coalescer.is_due(at) {
                coalescer.told(at);
                told.push(now);
            }
        }
        told
    }

    #[test]
    fn the_first_change_is_told_after_a_second_with_all_that_joined_it() {
        let mut c = Coalescer::default();
        assert!(tellings(100, 1, &mut c, 0).is_empty());
        assert!(c.is_due(Duration::from_secs(1)));
        c.told(Duration::from_secs(1));
        assert!(!c.is_due(Duration::from_secs(3600)), "at rest nothing is told");
    }

    #[test]
    fn while_changes_go_on_the_distance_doubles_to_thirty_seconds() {
        let told = tellings(100, 200, &mut Coalescer::default(), 0);
        let distances: Vec<u64> = told.windows(2).map(|w| (w[1] - w[0]) / 1000).collect();
        assert_eq!(distances[..6], [2, 4, 8, 16, 30, 30], "{told:?}");
    }

    #[test]
    fn after_a_pause_the_next_change_is_told_after_a_second_again() {
        let mut c = Coalescer::default();
        tellings(100, 100, &mut c, 0);
        let late = tellings(10_000_000, 5, &mut c, 300_000);
        // What was pending at the end of the storm, and nothing else.
        assert_eq!(late.len(), 1);
        let calm = tellings(10_000_000, 5, &mut c, 500_000);
        assert_eq!(calm, [501_000]);
    }

    #[test]
    fn a_failure_is_tried_again_and_a_change_that_went_back_is_not_told() {
        let mut c = Coalescer::default();
        let at = Duration::from_secs;
        c.changed(at(0));
        c.failed(at(1), at(5));
        assert!(!c.is_due(at(5)) && c.is_due(at(6)));
        c.unchanged();
        assert!(!c.is_due(at(60)));
    }
}
