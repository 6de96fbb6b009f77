//! What time is told, from readings of two clocks. Pure.
//!
//! ```text
//!             wall >= not_before
//! not set ------------------------> set
//! tells boot + a fixed offset       tells the wall clock; while that is behind what was told,
//!                                   half as fast as time passes, until both agree
//! ```

use lineside_core::{TimeQuality, UnixNanos};

/// From here a difference between the two clocks is a step and no adjustment of speed (the step
/// threshold of NTP, RFC 5905, STEPT) ...
const STEP: i64 = 128_000_000;
/// ... plus this part of the time between two readings: the fastest that daemons slew is 1/12.
const SLEW_PART: i64 = 8;
/// A clock that is set back further was so wrong that the times told must not go on with it.
const FARTHEST_BACK: i64 = 3_600_000_000_000;

/// Both clocks at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Since 1970.
    pub wall: UnixNanos,
    /// Since the machine started, sleep included. Never goes back.
    pub boot: i64,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The time.
    pub time: UnixNanos,
    /// Whether it can be trusted.
    pub quality: TimeQuality,
    /// How far it is ahead of the wall clock, in nanoseconds.
    pub ahead: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Steady {
    not_before: UnixNanos,
    last: Option<Last>,
    steps: u64,
    correction: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    reading: Reading,
    told: UnixNanos,
    /// While the clock is not set: what is added to the time since the start of the machine, the
    /// same for all times, so that one correction mends them all.
    unset_offset: Option<i64>,
}

impl Steady {
    /// A clock that is not set while it is before `not_before`.
    pub fn new(not_before: UnixNanos) -> Self {
        Self { not_before, last: None, steps: 0, correction: None }
    }

    /// The time at a reading, which is not older than the one before.
    pub fn tell(&mut self, reading: Reading) -> Told {
        let Reading { wall, boot } = reading;
        let plausible = wall >= self.not_before;
        let Some(last) = self.last else {
            let unset_offset = (!plausible).then(|| wall.saturating_sub(boot));
            return self.told(Last { reading, told: wall, unset_offset });
        };
        let passed = boot.saturating_sub(last.reading.boot).max(0);
        let moved = wall.saturating_sub(last.reading.wall).saturating_sub(passed);
        if moved.saturating_abs() > STEP.saturating_add(passed / SLEW_PART) {
            self.steps += 1;
        }
        let slow = last.told.saturating_add(passed / 2);
        let (told, unset_offset) = match last.unset_offset {
            Some(offset) if !plausible => (boot.saturating_add(offset), Some(offset)),
            Some(offset) => {
                self.correction = Some(wall.saturating_sub(boot).saturating_sub(offset));
                (wall.max(slow), None)
            }
            // It was right and is not any more: a dead battery, a careless hand.
            None if !plausible => (last.told.saturating_add(passed), None),
            None if slow.saturating_sub(wall) > FARTHEST_BACK => (wall, None),
            None => (wall.max(slow), None),
        };
        self.told(Last { reading, told, unset_offset })
    }

    fn told(&mut self, last: Last) -> Told {
        self.last = Some(last);
        Told {
            time: last.told,
            quality: match last.unset_offset {
                Some(_) => TimeQuality::Unsynced,
                None => TimeQuality::Synced,
            },
            ahead: last.told.saturating_sub(last.reading.wall),
        }
    }

    /// How often the wall clock was set between two readings.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What has to be added to the times that were told while the clock was not set; given once,
    /// as soon as it is set.
    pub fn take_correction(&mut self) -> Option<i64> {
        self.correction.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const NOT_BEFORE: i64 = 1_764_000_000 * SECOND;
    const NOW: i64 = 1_800_000_000 * SECOND;

    /// Two clocks of which the wall clock can be set.
    struct Machine {
        steady: Steady,
        boot: i64,
        offset: i64,
    }

    impl Machine {
        fn at(wall: i64) -> Self {
            let mut machine = Self {
                steady: Steady::new(NOT_BEFORE),
                boot: 5 * SECOND,
                offset: wall - 5 * SECOND,
            };
            machine.tell();
            machine
        }

        fn wall(&self) -> i64 {
            self.boot + self.offset
        }

        fn tell(&mut self) -> Told {
            self.steady.tell(Reading { wall: self.wall(), boot: self.boot })
        }

        fn after(&mut self, passed: i64) -> Told {
            self.boot += passed;
            self.tell()
        }
    }

    #[test]
    fn a_step_forward_is_followed_at_once_and_counted() {
        let mut machine = Machine::at(NOW);
        machine.offset += HOUR;
        assert_eq!(machine.after(SECOND).time, NOW + HOUR + SECOND);
        assert_eq!((machine.steady.steps(), machine.steady.take_correction()), (1, None));
    }

    #[test]
    fn after_a_step_back_time_goes_on_at_half_its_speed_until_both_agree() {
        let mut machine = Machine::at(NOW);
        machine.offset -= 10 * SECOND;
        for second in 1..=20 {
            let told = machine.after(SECOND);
            assert_eq!(told.time, NOW + second * SECOND / 2);
            assert_eq!(told.quality, TimeQuality::Synced);
        }
        assert_eq!(machine.after(SECOND).ahead, 0);
        assert_eq!(machine.after(SECOND).time, machine.wall());
        assert_eq!(machine.steady.steps(), 1);
    }

    #[test]
    fn a_clock_set_back_by_more_than_an_hour_is_followed() {
        let mut machine = Machine::at(NOW + 100_000 * HOUR);
        machine.offset -= 100_000 * HOUR;
        assert_eq!(machine.after(SECOND).time, NOW + SECOND);
        assert_eq!(machine.steady.steps(), 1);
    }

    #[test]
    fn a_set_clock_that_falls_back_to_1970_is_not_believed() {
        let mut machine = Machine::at(NOW);
        machine.offset = 0;
        for second in 1..100 {
            let told = machine.after(SECOND);
            assert_eq!((told.time, told.quality), (NOW + second * SECOND, TimeQuality::Synced));
        }
        machine.offset = NOW - 5 * SECOND;
        assert_eq!(machine.after(SECOND).time, machine.wall());
        assert_eq!(machine.steady.steps(), 2);
    }

    #[test]
    fn slewing_is_no_step() {
        let mut machine = Machine::at(NOW);
        for _ in 0..1000 {
            machine.offset -= SECOND / 12;
            machine.after(SECOND);
        }
        assert_eq!(machine.steady.steps(), 0);
        assert_eq!(machine.after(SECOND).time, machine.wall());
    }

    #[test]
    fn one_correction_mends_every_time_of_a_clock_that_was_not_set() {
        let mut machine = Machine::at(3 * SECOND);
        let mut times = vec![(machine.boot, machine.tell())];
        for _ in 0..10 {
            // It wanders, and somebody sets it wrongly; neither shows.
            machine.offset += 70 * SECOND;
            let told = machine.after(7 * SECOND);
            times.push((machine.boot, told));
        }
        assert!(times.iter().all(|(_, told)| told.quality == TimeQuality::Unsynced));
        assert_eq!(machine.steady.take_correction(), None);
        machine.offset = NOW;
        let told = machine.after(SECOND);
        assert_eq!((told.time, told.quality), (machine.wall(), TimeQuality::Synced));
        let delta = machine.steady.take_correction().unwrap();
        for (boot, told) in times {
            assert_eq!(told.time + delta, NOW + boot);
        }
        assert_eq!(machine.steady.take_correction(), None, "given once");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn time_never_goes_back_and_finds_the_wall_clock_again(
            events in proptest::collection::vec((0..20 * SECOND, -HOUR / 2..HOUR / 2, 0..10_u8), 1..60),
        ) {
            let mut machine = Machine::at(NOW);
            let mut last = NOW;
            for (passed, step, chance) in events {
                if chance == 0 {
                    machine.offset += step;
                    // What is ahead adds up; beyond an hour it would be followed.
                    prop_assume!(last - machine.wall() < HOUR);
                }
                let told = machine.after(passed);
                prop_assert!(told.time >= last + passed / 2, "half the speed at least");
                prop_assert!(told.ahead >= 0, "never behind");
                last = told.time;
            }
            let ahead = machine.tell().ahead;
            prop_assert_eq!(machine.after(2 * ahead + 2).ahead, 0);
            prop_assert_eq!(machine.steady.take_correction(), None);
        }

        #[test]
        fn no_readings_make_it_panic(
            readings in proptest::collection::vec((any::<i64>(), any::<i64>()), 0..20),
        ) {
            let mut steady = Steady::new(NOT_BEFORE);
            for (wall, boot) in readings {
                steady.tell(Reading { wall, boot });
            }
        }
    }
}
