//! What goes wrong on the line, and when: pure functions of the time since the start.
//!
//! Each fault comes once a minute. Closer together they would be one long state to the agent:
//! more than three changes of health in 60 s are reported as flapping.

use std::time::Duration;

use super::line::scramble;

/// Time from one occurrence to the next.
const PERIOD: Duration = Duration::from_secs(60);
/// First time that the conveyor is away, before the seed's share.
const AWAY_FROM: Duration = Duration::from_secs(20);
/// How long it is away.
const AWAY_FOR: Duration = Duration::from_secs(10);
/// First time that the sensor is broken, before the seed's share.
const BROKEN_FROM: Duration = Duration::from_secs(42);
/// How long it is broken.
const BROKEN_FOR: Duration = Duration::from_secs(12);
/// What the seed may add to each start.
const SPREAD_MILLIS: u64 = 4000;

/// The faults of one run.
#[derive(Debug)]
pub struct Faults {
    conveyor: Recurring,
    sensor: Recurring,
}

impl Faults {
    /// The faults of a seed.
    pub fn new(seed: u64) -> Self {
        let share = |salt| Duration::from_millis(scramble(seed ^ salt) % SPREAD_MILLIS);
        Self {
            conveyor: Recurring { first: AWAY_FROM + share(0xA), length: AWAY_FOR },
            sensor: Recurring { first: BROKEN_FROM + share(0xB), length: BROKEN_FOR },
        }
    }

    /// Whether the sensor of the exhaust temperature is broken.
    pub fn sensor_broken(&self, elapsed: Duration) -> bool {
        self.sensor.at(elapsed).0
    }

    /// Whether the conveyor is off the network, and when that changes next.
    pub fn conveyor_away(&self, elapsed: Duration) -> (bool, Duration) {
        self.conveyor.at(elapsed)
    }
}

/// A state that comes once per [`PERIOD`].
#[derive(Debug)]
struct Recurring {
    first: Duration,
    length: Duration,
}

impl Recurring {
    /// Whether it is so, and when (from the start) that changes next.
    fn at(&self, elapsed: Duration) -> (bool, Duration) {
        let Some(since_first) = elapsed.checked_sub(self.first) else {
            return (false, self.first);
        };
        let phase = Duration::from_nanos(
            u64::try_from(since_first.as_nanos() % PERIOD.as_nanos()).unwrap_or_default(),
        );
        let began = elapsed.saturating_sub(phase);
        if phase < self.length { (true, began + self.length) } else { (false, began + PERIOD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// The starts and ends of a state within ten minutes.
    fn changes(state: impl Fn(Duration) -> bool) -> Vec<(Duration, bool)> {
        let mut now = false;
        (0..6000u32)
            .map(|i| (STEP * i, state(STEP * i)))
            .filter(|(_, s)| std::mem::replace(&mut now, *s) != *s)
            .collect()
    }

    #[test]
    fn each_fault_comes_once_a_minute_and_ends() {
        for seed in 0..50 {
            let faults = Faults::new(seed);
            let away = changes(|t| faults.conveyor_away(t).0);
            let broken = changes(|t| faults.sensor_broken(t));
            for (changes, length) in [(away, AWAY_FOR), (broken, BROKEN_FOR)] {
                assert!(changes.len() >= 18, "{changes:?}");
                for pair in changes.chunks_exact(2) {
                    let took = pair[1].0 - pair[0].0;
                    assert!(took >= length - STEP && took <= length + STEP, "{took:?}");
                }
            }
        }
    }

    #[test]
    fn the_next_change_is_where_the_state_changes() {
        let faults = Faults::new(7);
        let mut t = Duration::ZERO;
        for i in 0..20 {
            let (away, change) = faults.conveyor_away(t);
            assert_eq!(away, i % 2 == 1, "{t:?}");
            assert!(change > t);
            let just_before = change.checked_sub(Duration::from_nanos(1)).unwrap();
            assert_eq!(faults.conveyor_away(just_before), (away, change));
            t = change;
        }
    }

    #[test]
    fn a_seed_always_gives_the_same_faults() {
        for t in (0..600).map(Duration::from_secs) {
            let (a, b) = (Faults::new(3), Faults::new(3));
            assert_eq!(a.conveyor_away(t), b.conveyor_away(t));
            assert_eq!(a.sensor_broken(t), b.sensor_broken(t));
        }
        let first = |seed| Faults::new(seed).conveyor_away(Duration::ZERO).1;
        assert!((1..50).any(|seed| first(seed) != first(0)));
    }
}
