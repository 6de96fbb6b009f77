//! Fixed-rate ticks without drift: every interval ticks at `base + k x interval`, so intervals
//! that divide one another coincide. Ticks that have passed unserved are counted, not made up.

use std::time::{Duration, Instant};

/// Longest wait handed out; keeps arithmetic on instants far from overflow.
pub(super) const FAR: Duration = Duration::from_secs(86_400);

/// `at + by`, never overflowing.
pub(super) fn after(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).or_else(|| at.checked_add(FAR)).unwrap_or(at)
}

/// All points of one interval.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) interval: Duration,
    /// When it is due next.
    pub(super) next: Instant,
}

/// The ticks of all intervals.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    base: Instant,
    pub(super) classes: Vec<Class>,
    /// Ticks that passed before the one before them was done.
    pub(super) missed: u64,
}

impl Schedule {
    /// No intervals yet.
    pub(super) fn new(base: Instant) -> Self {
        Self { base, classes: Vec::new(), missed: 0 }
    }

    /// The class of an interval, made when new; its first tick is the first one at or after `now`.
    pub(super) fn class(&mut self, interval: Duration, now: Instant) -> u32 {
        let interval = interval.max(Duration::from_millis(1));
        if let Some(at) = self.classes.iter().position(|c| c.interval == interval) {
            return at as u32;
        }
        let next = if now <= self.base { self.base } else { self.tick_after(interval, now) };
        self.classes.push(Class { interval, next });
        (self.classes.len() - 1) as u32
    }

    /// The first tick of an interval that lies after `now`.
    fn tick_after(&self, interval: Duration, now: Instant) -> Instant {
        let gone = now.saturating_duration_since(self.base).as_nanos();
        let each = interval.as_nanos().max(1);
        let until = (gone / each + 1).saturating_mul(each);
        after(self.base, Duration::from_nanos(u64::try_from(until).unwrap_or(u64::MAX)))
    }

    /// When the next tick of any interval is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.classes.iter().map(|c| c.next).min()
    }

    /// The classes due at `now` into `due`, and the nominal time of the latest tick among them;
    /// `None` when none is due. Their next tick is the first one after `now`.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<u32>) -> Option<Instant> {
        due.clear();
        let mut tick = None;
        for i in 0..self.classes.len() {
            let Some(class) = self.classes.get(i).filter(|c| c.next <= now) else { continue };
            let (interval, was) = (class.interval, class.next);
            let next = self.tick_after(interval, now);
            let passed = next.saturating_duration_since(was).as_nanos() / interval.as_nanos();
            let skipped = u64::try_from(passed.saturating_sub(1)).unwrap_or(u64::MAX);
            self.missed = self.missed.saturating_add(skipped);
            let latest = next.checked_sub(interval).unwrap_or(was);
            tick = Some(tick.map_or(latest, |t: Instant| t.max(latest)));
            if let Some(class) = self.classes.get_mut(i) {
                class.next = next;
            }
            due.push(i as u32);
        }
        tick
    }
}
