//! When which source is told. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Until the first time, so that what has just been started is known.
const FIRST: Duration = Duration::from_secs(1);

/// When each source of a pipeline is told next.
#[derive(Debug)]
pub(super) struct Schedule(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    source: usize,
    interval: Duration,
    next: Instant,
}

impl Schedule {
    /// The sources with an interval, by their places.
    pub(super) fn new(intervals: Vec<Option<Duration>>, now: Instant) -> Self {
        let told = intervals.into_iter().enumerate().filter_map(|(source, interval)| {
            let interval = interval?;
            Some(Entry { source, interval, next: now + FIRST.min(interval) })
        });
        Self(told.collect())
    }

    /// When the next one is due; in a day when there is none.
    pub(super) fn next(&self) -> Instant {
        let next = self.0.iter().map(|entry| entry.next).min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_secs(24 * 3600))
    }

    /// The sources that are due. Times that were missed are not made up for.
    pub(super) fn due(&mut self, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        for entry in self.0.iter_mut().filter(|entry| entry.next <= now) {
            due.push(entry.source);
            entry.next += entry.interval;
            if entry.next <= now {
                entry.next = now + entry.interval;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own_time_and_a_missed_one_is_left_out() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let seconds = |s| Some(Duration::from_secs(s));
        let mut schedule = Schedule::new(vec![None, seconds(10), seconds(60)], start);
        assert!(schedule.due(start).is_empty());
        assert_eq!(schedule.due(at(1)), [1, 2], "soon after the start");
        assert_eq!((schedule.due(at(10)), schedule.due(at(11))), (vec![], vec![1]));
        assert_eq!(schedule.next(), at(21));
        assert_eq!(schedule.due(at(100)), [1, 2]);
        assert_eq!(schedule.due(at(101)), [] as [usize; 0], "not made up for");
        assert_eq!(schedule.due(at(110)), [1]);
    }
}
